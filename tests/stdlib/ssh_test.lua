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
