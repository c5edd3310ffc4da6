//! Data in named domains behind memory protection keys.
