//! Specification and host facts to ordered steps. Pure: nothing here touches the host.
