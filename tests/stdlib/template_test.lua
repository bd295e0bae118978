local t = require "hostel.test"
local template = require "hostel.template"

t.describe("template.render", function()
  t.it("gives values, conditions and loops", function()
    local text =
      "{{ host.name }}:{% for p in ports %} {{ p }}{% end %}{% if tls %} ssl{% else %} plain{% end %}"
    local values = { host = { name = "web" }, ports = { 80, 443 }, tls = false }
    t.expect(template.render(text, values)):to_equal "web: 80 443 plain"
    values.tls = true
    t.expect(template.render(text, values)):to_equal "web: 80 443 ssl"
  end)

  t.it("leaves comments out, and gives braces", function()
    t.expect(template.render('a{# not this #}b{{ "{{" }}', {})):to_equal "ab{{"
  end)

  t.it("says where a name is unknown", function()
    t.expect(function()
      template.render("one\ntwo {{ three }}", {})
    end):to_fail "2:5"
  end)

  t.it("refuses to run over what is no list to its end", function()
    local text = "a\n{% for p in ports %}{{ p }}{% end %}"
    t.expect(template.render(text, { ports = {} })):to_equal "a\n"
    for message, ports in pairs {
      ["item 2 of `ports` is nil, and others follow it at 2:1 of the template"] = { 80, nil, 443 },
      ["item 1 of `ports` is nil, and others follow it at 2:1"] = { nil, 443 },
      ["`ports` has names, such as `http`, and is no list at 2:1"] = { http = 80 },
      ["`ports` is number, not a list at 2:1"] = 80,
    } do
      t.expect(function()
        template.render(text, { ports = ports })
      end):to_fail(message)
    end
  end)

  t.it("refuses what has no end", function()
    for _, text in ipairs { "{{ a", "{% if a %}b", "{% for x in a %}", "{# a", "{% end %}" } do
      t.expect(function()
        template.render(text, { a = "x" })
      end):to_fail()
    end
  end)
end)
