//! The programs that are chbind: loading, attaching, and their maps.
