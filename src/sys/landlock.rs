//! Landlock scoping of abstract unix sockets.
