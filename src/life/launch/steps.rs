//! The steps that hostel carries out itself, outside: before the process exists, and beside it while it waits or mounts.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::undo::{Undo, claim};
use super::{Launch, internal};
use crate::bpf;
use crate::error::{Context as _, Error, Kind, Result};
use crate::guest::{HostPid, Limits, Mount, Overlay, Source, Xid};
use crate::life::{guest_dev, inside};
use crate::plan::Step;
use crate::storage::{disk_image, volume};
use crate::sys::cgroup::Group;
use crate::sys::mount::{self, Attr};
use crate::sys::netlink::{Loopback6, Owner, Veth};
use crate::sys::{clone, idmap, overlay, rlimit};

/// A primitive may add a limit to the context that it runs in, but not change one that the context has.
fn refuse_twice(outer: &Limits, inner: &Limits) -> Result<()> {
    let fields = |limits: &Limits| match serde_json::to_value(limits) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields),
        other => Err(internal(&format!("limits as JSON: {other:?}"))),
    };
    let outer = fields(outer)?;
    match fields(inner)?.keys().find(|field| outer.contains_key(*field)) {
        None => Ok(()),
        Some(field) => Err(Error::new(
            Kind::State,
            format!("the context that this runs in has a limit on `{field}` already"),
        )
        .with_hint("give each limit once")),
    }
}

impl Launch<'_> {
    pub(super) fn host_step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Cgroup(limits) => {
                let root = self.host.cgroup_root()?;
                let name = self.number()?.cgroup_name();
                let group = Group::create(root, &name, limits)?;
                let claim =
                    claim(&group)?.ok_or_else(|| Error::new(Kind::Busy, "another command makes it"))?;
                self.undo.push(Undo::Cgroup(group, claim));
            }
            Step::Narrow(limits) => {
                let group = self.own_group()?;
                refuse_twice(&group.read_limits()?, limits)?;
                group.narrow(limits)?;
            }
            Step::Admit(addrs) => self.admit(addrs.as_deref())?,
            Step::Address(net, device) => {
                let xid = self.number()?;
                let netlink = self.routes.open()?;
                let index = netlink.device(device)?.ok_or_else(|| {
                    Error::new(
                        Kind::NotFound,
                        format!("the host has no network device `{device}`"),
                    )
                    .with_hint("`ip link` lists them")
                })?;
                netlink.add_address(index, *net, Owner(xid))?;
                self.undo.push(Undo::Address(index, *net));
            }
            Step::Loopback6(_) => {
                let xid = self.number()?;
                if self.routes.open()?.ensure_loopback6(xid)? == Loopback6::Added {
                    self.undo.push(Undo::Loopback6(xid));
                }
            }
            Step::OpenRoot(path) => {
                let tree = open_tree(path, false)?;
                if !mount_is_dir(&tree)? {
                    return Err(Error::new(
                        Kind::Invalid,
                        format!("`{}` is not a directory", path.display()),
                    ));
                }
                // No device file of the tree opens, whoever made it there.
                mount::set_attr(&tree, Attr::NODEV).context(|| "set its attributes")?;
                self.root = Some(tree);
            }
            Step::OpenLayers(layers, has_own_ids) => {
                let xid = has_own_ids.then(|| self.number()).transpose()?;
                self.root = Some(open_layers(layers, xid)?);
                self.is_root_mapped = true;
            }
            Step::OpenImage(path) => self.root = Some(disk_image::open(path, Attr::NODEV)?),
            Step::OpenMount(wanted) => {
                let attr = attributes(wanted);
                let tree = match &wanted.source {
                    Source::Path(path) => open_tree(path, false)?,
                    Source::Volume(name) => volume::open_mount(&self.host.layout, name, attr)?,
                };
                // Attributes go on before the owners are mapped and long before anyone can reach it.
                mount::set_attr(&tree, attr).context(|| "set its attributes")?;
                let is_guests = wanted.idmap && wanted.owner.is_none();
                self.mounts.push((tree, is_guests.then_some(attr)));
            }
            Step::OpenFuse(owner) => self.fuse = Some(guest_dev::fuse(*owner)?),
            Step::MapOwner(place, mount, first_id) => {
                let (tree, _) = self
                    .mounts
                    .get(*place)
                    .ok_or_else(|| internal("the owner of a mount that was not opened"))?;
                map_owner(tree, mount, *first_id)?;
            }
            Step::MapIds(xid) => clone::map_ids(self.waiting()?.child.pid, xid.id_base(), Xid::IDS)?,
            Step::MapOwners => self.map_owners_of_all()?,
            Step::Cable(cable) => {
                let xid = self.number()?;
                let netns = namespace_of(self.waiting()?.child.pid)?;
                let veth = Veth {
                    xid,
                    addresses: &cable.addresses,
                    gateways: &cable.gateways,
                    bridge: cable.bridge.as_deref(),
                };
                self.routes.open()?.create_veth(&veth, netns.as_fd())?;
                self.undo.push(Undo::Cable(xid));
            }
            // Its ids are no longer root's: who may do this without CAP_SYS_RESOURCE and CAP_SYS_NICE is the owner.
            Step::Rlimit(kind, limit) => {
                let _acting = self.as_owner()?;
                rlimit::set(Some(self.waiting()?.child.pid), *kind, *limit)?;
            }
            Step::Nice(nice) => {
                let _acting = self.as_owner()?;
                rlimit::set_nice(self.waiting()?.child.pid, *nice)?;
            }
            other => return Err(internal(&format!("`{other}` is no step of the host's"))),
        }
        Ok(())
    }

    fn admit(&mut self, addrs: Option<&[IpAddr]>) -> Result<()> {
        let xid = self.number()?;
        let (id, is_own) = match self.group() {
            Some(group) => (group.id()?, false),
            // A chained primitive: the cgroup that it is in was made by the one around it.
            None => (self.own_group()?.id()?, true),
        };
        let fence = self.host.fence()?;
        if is_own
            && fence
                .entries()?
                .iter()
                .any(|e| e.cgroup_id == id && e.rule.mode != bpf::Mode::Open)
        {
            return Err(Error::new(
                Kind::State,
                format!("context {xid} is confined to addresses already"),
            )
            .with_hint("give all addresses to one `bind`"));
        }
        let mode = match addrs {
            None => bpf::Mode::Open,
            Some(addrs) => bpf::Mode::Bind {
                v4: addrs
                    .iter()
                    .filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None })
                    .collect(),
                v6: addrs
                    .iter()
                    .filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None })
                    .collect(),
                raw: false,
            },
        };
        let mut rule = bpf::Rule::new(xid, mode);
        if self.fuse.is_some() {
            rule.devices = bpf::Devices::Fuse;
        }
        fence.admit(id, &rule).map_err(|err| match err.kind() {
            // Of a number, `Exists` says that another may be free: of an address it says no such thing.
            Kind::Exists => err.with_kind(Kind::State),
            _ => err,
        })?;
        self.undo.push(if is_own {
            Undo::Own(id, xid)
        } else {
            Undo::Admitted(id)
        });
        Ok(())
    }

    /// The cgroup that hostel itself is in.
    fn own_group(&self) -> Result<Group> {
        let group = Group::open(self.host.cgroup_root()?, &self.number()?.cgroup_name())?;
        group.ok_or_else(|| internal("the cgroup of this process is gone"))
    }

    /// Maps the owners of what was opened, now that the user namespace has its ids. The descriptors are shared
    /// with the waiting process, so what is mapped here is mapped there.
    fn map_owners_of_all(&mut self) -> Result<()> {
        let userns = idmap::of(self.waiting()?.child.pid)?;
        if let Some(root) = &self.root
            && !self.is_root_mapped
        {
            map_owners(root, &userns, Attr::NODEV)?;
        }
        for (tree, attr) in &self.mounts {
            if let Some(attr) = attr {
                map_owners(tree, &userns, *attr)?;
            }
        }
        Ok(())
    }
}

/// A detached copy of the mount that `path` of the host is on, seen from `path`.
fn open_tree(path: &std::path::Path, is_recursive: bool) -> Result<OwnedFd> {
    let name = inside::c_path(path).context(|| format!("open `{}`", path.display()))?;
    let tree =
        mount::clone_tree(None, &name, is_recursive).context(|| format!("open `{}`", path.display()))?;
    Ok(tree)
}

/// The attributes of host data.
fn attributes(mount: &Mount) -> Attr {
    let mut attr = Attr::NOSUID.and(Attr::NODEV);
    if mount.readonly {
        attr = attr.and(Attr::RDONLY);
    }
    if mount.noexec {
        attr = attr.and(Attr::NOEXEC);
    }
    attr
}

/// Makes one user and group of the host one of the guest on this mount, and everybody else nobody.
fn map_owner(tree: &OwnedFd, mount: &Mount, first_id: u32) -> Result<()> {
    let Some(owner) = &mount.owner else { return Ok(()) };
    // Of what was opened, not of the path: that may lead elsewhere by now.
    let stat = nix::sys::stat::fstat(tree).context(|| "stat")?;
    let user = (owner.host_uid.unwrap_or(stat.st_uid), first_id + owner.uid);
    let group = (
        owner.host_gid.unwrap_or(stat.st_gid),
        first_id + owner.gid.unwrap_or(owner.uid),
    );
    let userns = idmap::of_one(user, group)?;
    map_owners(tree, &userns, attributes(mount))
}

/// An overlay cannot be id-mapped: its layers are, each before it becomes one.
fn open_layers(layers: &Overlay, xid: Option<Xid>) -> Result<OwnedFd> {
    let open = |path: &std::path::Path| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).context(|| format!("open `{}`", path.display()))
    };
    let lower: Vec<OwnedFd> = layers
        .lower
        .iter()
        .map(|path| open(path))
        .collect::<Result<_>>()?;
    let upper = open(&layers.upper)?;
    let layers = overlay::Layers {
        lower: lower.iter().map(AsFd::as_fd).collect(),
        upper: Some(upper.as_fd()),
    };
    match xid {
        Some(xid) => overlay::mount_mapped(&layers, (xid.id_base(), Xid::IDS), Attr::NODEV),
        None => overlay::mount(&layers, Attr::NODEV),
    }
}

fn mount_is_dir(tree: &OwnedFd) -> Result<bool> {
    let stat = nix::sys::stat::fstat(tree).context(|| "stat")?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn map_owners(tree: &OwnedFd, userns: &OwnedFd, attr: Attr) -> Result<()> {
    mount::map_owners(tree, userns, attr).map_err(|errno| {
        let err = Error::os("map the owners of a mount", errno);
        match errno {
            Errno::EINVAL => err.with_kind(Kind::Unsupported).with_hint(
                "this file system cannot be id-mapped; ext4, xfs and btrfs can, tmpfs since Linux 6.3",
            ),
            _ => err,
        }
    })
}

fn namespace_of(pid: HostPid) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/net");
    Ok(std::fs::File::open(&path)
        .context(|| format!("open `{path}`"))?
        .into())
}
