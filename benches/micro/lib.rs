//! Nothing: a package for `benches/`, which holds the parts of a transfer, measured one by one.
