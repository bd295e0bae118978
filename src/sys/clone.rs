//! Processes in new namespaces: `clone3(2)`.
