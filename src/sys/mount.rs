//! The file-descriptor mount API: `open_tree(2)`, `move_mount(2)`, `fsopen(2)`, `pivot_root(2)`.
