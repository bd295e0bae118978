//! The values that hostel's words make. Each shows what it is and nothing of the process that runs it.

use mlua::{MetaMethod, Table, UserData, UserDataFields, UserDataMethods};

/// `template "base" { ... }`: its number.
pub(crate) struct TemplateRef(pub(crate) usize, pub(crate) String);

/// `guest "web" { ... }`: its name.
pub(crate) struct GuestRef(pub(crate) String);

/// `secret "web/db"`: its name. The value never enters the Lua state.
pub(crate) struct SecretRef(pub(crate) String);

/// `append { ... }`.
pub(crate) struct AppendList(pub(crate) Table);

/// `unset`.
pub(crate) struct UnsetMark;

/// What Lua's own messages call a value: "attempt to concatenate a secret value".
const NAME: &str = "__name";

impl UserData for TemplateRef {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(NAME, "template");
    }
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("template \"{}\"", this.1))
        });
    }
}

impl UserData for GuestRef {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(NAME, "guest");
        fields.add_field_method_get("name", |_, this| Ok(this.0.clone()));
    }
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("guest \"{}\"", this.0))
        });
    }
}

impl UserData for SecretRef {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(NAME, "secret");
    }
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            Ok(format!("secret \"{}\"", this.0))
        });
    }
}

impl UserData for AppendList {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(NAME, "append");
    }
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, _, ()| Ok("append"));
    }
}

impl UserData for UnsetMark {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(NAME, "unset");
    }
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, _, ()| Ok("unset"));
    }
}
