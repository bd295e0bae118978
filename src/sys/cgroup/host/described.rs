//! A host that is only described: what would be refused there is decided by the same code as on a real one.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::{Controller, Facts, Hierarchy, Host, IoWeight, Layout, RlimitKind, Unified};

/// What a description says.
#[derive(Debug, Clone)]
pub struct Description {
    /// Which versions are mounted.
    pub layout: Layout,
    /// The controllers that its kernel has.
    pub controllers: Vec<Controller>,
    /// How many processors are online.
    pub cpus: u16,
    /// Whether swap is accounted.
    pub swap: bool,
    /// How disks are shared by weight, if they are.
    pub io_weight: Option<IoWeight>,
}

impl Host {
    /// The host that `description` tells of. Nothing of it is looked up on the host at hand.
    pub fn described(description: &Description) -> Self {
        let Description {
            layout, controllers, ..
        } = description;
        let v1 = |c: &Controller| Hierarchy {
            path: format!("/sys/fs/cgroup/{c}").into(),
            controllers: vec![*c],
        };
        let built = Controller::ALL.map(|c| (c, controllers.contains(&c)));
        Self {
            unified: (*layout != Layout::V1).then(|| Unified {
                path: "/sys/fs/cgroup".into(),
                depth: 0,
                controllers: match layout {
                    Layout::V2 => controllers.clone(),
                    Layout::Hybrid | Layout::V1 => Vec::new(),
                },
            }),
            v1: match layout {
                Layout::V2 => Vec::new(),
                Layout::Hybrid | Layout::V1 => controllers.iter().map(v1).collect(),
            },
            facts: Facts {
                built: OnceLock::from(
                    built
                        .into_iter()
                        .filter(|(_, has)| *has)
                        .collect::<BTreeMap<_, _>>(),
                ),
                swap: OnceLock::from(description.swap),
                bandwidth: OnceLock::from(true),
                io_weight: OnceLock::from(description.io_weight),
                online: OnceLock::from((0..description.cpus).collect::<Vec<_>>()),
                hard: OnceLock::from(
                    RlimitKind::all()
                        .map(|kind| (kind, None))
                        .collect::<BTreeMap<_, _>>(),
                ),
                may_raise: OnceLock::from(true),
            },
        }
    }
}
