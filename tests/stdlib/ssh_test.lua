local t = require "hostel.test"
local ssh = require "hostel.ssh"

t.describe("ssh.host", function()
  t.it("is shown by its name", function()
    t.expect(tostring(ssh.host "beta")):to_equal 'host "beta"'
    t.expect(tostring(ssh.host { name = "beta", user = "root", port = 2222 })):to_equal 'host "beta"'
  end)

  t.it("refuses what ssh would take for an option or another word", function()
    for _, name in ipairs { "-oProxyCommand=x", "a b", "", "a;b" } do
      t.expect(function()
        ssh.host(name)
      end):to_fail()
    end
    for _, bad in ipairs {
      { user = "-x" },
      { port = 0 },
      { port = 65536 },
      { port = "22" },
      { colour = "red" },
    } do
      bad.name = "beta"
      t.expect(function()
        ssh.host(bad)
      end):to_fail()
    end
  end)
end)

t.describe("host:exec", function()
  t.it("takes a command whole or not at all", function()
    local beta = ssh.host "beta"
    for message, command in pairs {
      ["exec: argument 2 is nil, and others follow it"] = { "rm", nil, "/tmp/x" },
      ["exec: argument 2 is a text, not a table"] = { "rm", { "-r" } },
      ["exec: there is no argument 0: the first one is 1"] = { [0] = "sudo", "id" },
      ["exec does not know `timeot`"] = { "id", timeot = "5s" },
      ["exec takes a table"] = {},
    } do
      t.expect(function()
        beta:exec(command)
      end):to_fail(message)
    end
  end)
end)
