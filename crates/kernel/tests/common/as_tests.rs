//! Makes a test of each check of the module `checks`.

macro_rules! as_tests {
    ($($module:ident: $($check:ident)*;)*) => {
        $(mod $module {
            $(#[test]
            fn $check() {
                crate::checks::$module::$check();
            })*
        })*
    };
}
