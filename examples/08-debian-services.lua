-- Three Debian servers on this kernel, each with sshd, nginx, PostgreSQL and Redis as Debian packages them, all on
-- their standard ports of the host's own network stack.
--
--   hostel apply examples/08-debian-services.lua
--   psql -h 127.90.0.1 -U postgres     redis-cli -h 127.90.0.2     curl http://127.90.0.3/
--   hostel exec alpha -- passwd root   (or add a user), then: ssh 127.90.0.1

-- Linux before 6.12 cannot keep the host's abstract unix sockets from a guest in bind mode. There, pass
-- `--set shared_abstract_sockets=true` to accept that.
local shared = input("shared_abstract_sockets", false)

local server = template "server" {
  image = "debian:bookworm",
  packages = { "openssh-server", "nginx-light", "postgresql", "redis-server", "iproute2", "procps" },
  limits = { memory = "512M", pids = 256 },
  net = { mode = "bind", ports = { 22, 80, 5432, 6379 }, shared_abstract_sockets = shared },
  -- Directories in /run are made by an init script on a machine of its own.
  services = {
    ["run-sshd"] = { exec = { "install", "-d", "/run/sshd" }, restart = "never" },
    ["run-postgres"] = {
      exec = { "install", "-d", "-o", "postgres", "-g", "postgres", "-m", "2775", "/run/postgresql" },
      restart = "never",
    },
    sshd = { exec = { "/usr/sbin/sshd", "-D", "-e" }, after = { "run-sshd" }, restart = "always" },
    nginx = { exec = { "nginx", "-g", "daemon off;" }, restart = "always" },
    postgres = {
      exec = {
        "/usr/lib/postgresql/15/bin/postgres",
        "-c",
        "config_file=/etc/postgresql/15/main/postgresql.conf",
      },
      user = "postgres",
      after = { "run-postgres" },
      -- Fast shutdown: sessions are ended, nothing is lost.
      stop_signal = "SIGINT",
      restart = "always",
    },
    redis = {
      exec = { "redis-server", "/etc/redis/redis.conf", "--daemonize", "no", "--supervised", "no" },
      user = "redis",
      restart = "always",
    },
  },
  health = { tcp = 5432, interval = "500ms", start = "2m" },
  files = {
    -- Every address that the guest has, which are its own alone.
    ["/etc/postgresql/15/main/conf.d/listen.conf"] = "listen_addresses = '*'\nhba_file = '/etc/postgresql/hba.conf'\n",
    -- An example: who may connect to the port may do everything.
    ["/etc/postgresql/hba.conf"] = "local all all trust\nhost all all all trust\n",
    ["/etc/redis/redis.conf"] = "bind * -::*\nprotected-mode no\ndir /var/lib/redis\n",
  },
}

for number, name in ipairs { "alpha", "beta", "gamma" } do
  guest(name) { from = server, xid = 9000 + number, net = { address = ("127.90.0.%d"):format(number) } }
end
