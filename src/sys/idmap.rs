//! Id-mapped mounts: `mount_setattr(2)` with `MOUNT_ATTR_IDMAP`.
