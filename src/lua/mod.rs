//! The Lua side: the VM, the sandbox, tables to guest types, diagnostics.
