//! The one description of everything a recipe can say: fields, types, units, defaults, documentation.
