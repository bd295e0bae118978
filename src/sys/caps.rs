//! Capability sets: bounding, effective, permitted, inheritable, ambient.
