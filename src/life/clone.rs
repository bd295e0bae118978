//! `hostel clone`: another guest like one that is there.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::build;
use super::hooks::HookRunner;
use super::host::Host;
use super::observe;
use crate::error::{Error, Kind, Result};
use crate::guest::{GuestName, Hostname, Image, NetMode, Spec, Storage, Xid};
use crate::storage::Progress;
use crate::storage::state::Applied;

/// What a clone does not have from its source.
#[derive(Debug, Clone, Default)]
pub struct CloneOptions {
    /// Its context id; allocated without.
    pub xid: Option<Xid>,
    /// Its hostname; its name without.
    pub hostname: Option<Hostname>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// How its files are kept; as the source's without.
    pub storage: Option<Storage>,
}

/// Makes `name` a clone of `source`, which may run. It is not started.
pub fn clone(
    host: &Host,
    source: &GuestName,
    name: &GuestName,
    options: CloneOptions,
    hooks: &dyn HookRunner,
    progress: &dyn Progress,
) -> Result<Applied> {
    let applied = observe::applied(host, source)?;
    let mut spec = like(&applied.spec, name, options)?;
    if spec.storage.is_none() {
        let files = crate::storage::files::read(&host.layout, source)?;
        spec.storage = Some(files.storage());
    }
    host.layout.ensure()?;
    if !applied.spec.hooks.is_empty() {
        progress.warning(&format!(
            "the hooks of `{source}` belong to its recipe; `{name}` has none"
        ));
    }
    let _lock = crate::storage::lock::acquire(&host.layout, name, super::WAIT)?;
    // From no recipe: the next apply of the source's would take it for one that was left out of it.
    build::build_locked(host, &spec, None, hooks, progress)
}

/// The source's specification with what must differ.
pub fn like(from: &Spec, name: &GuestName, options: CloneOptions) -> Result<Spec> {
    if name == &from.name {
        return Err(Error::new(
            Kind::Usage,
            format!("`{name}` cannot be a clone of itself"),
        ));
    }
    let mut spec = Spec {
        name: name.clone(),
        xid: options.xid,
        image: Image::Clone(from.name.clone()),
        packages: Vec::new(),
        hostname: options.hostname,
        autostart: false,
        // They are functions of the source's recipe, under the source's name.
        hooks: BTreeMap::new(),
        ..from.clone()
    };
    spec.storage = options.storage.or(from.storage);
    let has_addresses =
        !from.net.address.is_empty() && matches!(from.net.mode, NetMode::Bind | NetMode::Private);
    if has_addresses {
        if options.addresses.is_empty() {
            return Err(Error::new(
                Kind::Invalid,
                format!("`{}` has addresses, and a clone needs others", from.name),
            )
            .with_hint(format!("`hostel clone {} {name} --address ADDRESS`", from.name)));
        }
        if let Some(taken) = options
            .addresses
            .iter()
            .find(|a| from.net.addrs().any(|b| b == a.addr()))
        {
            return Err(Error::new(
                Kind::Exists,
                format!("`{}` has the address {} itself", from.name, taken.addr()),
            ));
        }
    } else if !options.addresses.is_empty() {
        return Err(Error::new(
            Kind::Invalid,
            format!("`{}` has no addresses, so a clone of it has none", from.name),
        ));
    }
    if has_addresses {
        spec.net.address = options.addresses;
    }
    Ok(spec)
}
