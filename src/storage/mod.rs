//! A guest's files: images, the state directory, locks, and safe access to hostile trees.
