//! How an image says that it is started, in the words of a guest: what a recipe leaves out comes from here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Init, Restart, Service, Spec};

/// The name of the service that an image's command becomes.
pub const MAIN: &str = "main";

/// What an OCI image says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StartOfImage {
    /// `Entrypoint` and `Cmd`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    /// `Env`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// `User`, without the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `WorkingDir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
    /// `StopSignal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What hostel has no word for in an image, for whoever writes the recipe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untaken: Vec<String>,
}

impl StartOfImage {
    /// The services of a guest: the recipe's, or the image's command when the recipe has none and hostel's init runs.
    pub fn services(&self, spec: &Spec) -> BTreeMap<String, Service> {
        if !spec.services.is_empty() || spec.init != Init::Hostel || self.exec.is_empty() {
            return spec.services.clone();
        }
        let main = Service {
            exec: self.exec.clone(),
            restart: Restart::default(),
            after: Vec::new(),
            user: self.user.clone(),
            dir: self.dir.clone(),
            env: BTreeMap::new(),
            stop_signal: self.stop_signal.clone(),
        };
        BTreeMap::from([(MAIN.to_owned(), main)])
    }

    /// The guest's environment: the recipe's variables over the image's.
    pub fn env(&self, spec: &Spec) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        env.extend(spec.env.clone());
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_comes_first() {
        let start = StartOfImage {
            exec: vec!["/server".to_owned()],
            env: BTreeMap::from([
                ("A".to_owned(), "image".to_owned()),
                ("B".to_owned(), "image".to_owned()),
            ]),
            user: Some("www".to_owned()),
            ..StartOfImage::default()
        };
        let spec = |more: serde_json::Value| -> Spec {
            let mut spec = serde_json::json!({ "name": "web", "image": "busybox", "env": { "A": "recipe" } });
            if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
                spec.extend(more.clone());
            }
            serde_json::from_value(spec).unwrap()
        };
        let bare = spec(serde_json::json!({}));
        assert_eq!(start.services(&bare)[MAIN].user.as_deref(), Some("www"));
        let env = start.env(&bare);
        assert_eq!((env["A"].as_str(), env["B"].as_str()), ("recipe", "image"));
        let own = spec(serde_json::json!({ "services": { "web": { "exec": ["x"] } } }));
        assert_eq!(start.services(&own).keys().collect::<Vec<_>>(), ["web"]);
        let init = spec(serde_json::json!({ "init": { "own": "/sbin/init" } }));
        assert!(start.services(&init).is_empty());
    }
}
