//! The macro that reads the fields of a JSON object.

/// Reads an object into fields of a struct, each named after its key; what is not listed is skipped. The fields that nearly every object
/// has come first.
macro_rules! read_fields {
    ($reader:expr, $into:expr, { $( $key:literal => $field:ident, )* }) => {{
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy)]
        enum Key { $( $field, )* }

        let mut object = $reader.object()?;
        while let Some(key) = $reader.field(&mut object, &[$( ($key, Key::$field) ),*])? {
            match key {
                $( Key::$field => $crate::pod::json::Read::read(&mut $into.$field, $reader)?, )*
            }
        }
        Some(())
    }};
}

pub(crate) use read_fields;
