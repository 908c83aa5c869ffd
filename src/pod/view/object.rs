//! The macro that writes what is read of a JSON object.

/// Writes a struct whose fields are all optional, and what reads it from a JSON object: a visitor, and [`Read`].
///
/// [`Read`]: crate::pod::json::Read
macro_rules! json_object {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident<'a>, $what:literal {
            $( $(#[$field_meta:meta])* $key:literal => $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name<'a> {
            $( $(#[$field_meta])* pub(super) $field: Option<$type>, )*
        }

        impl<'a> Read<'a> for $name<'a> {
            fn read(&mut self, reader: &mut Reader<'a>) -> Taken {
                read_fields!(reader, self, { $( $key => $field, )* })
            }
        }

        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)]
                enum Key { $( $field, )* Unknown }

                impl<'de> Deserialize<'de> for Key {
                    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                        struct KeyVisitor;
                        impl Visitor<'_> for KeyVisitor {
                            type Value = Key;
                            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                                f.write_str("a field's name")
                            }
                            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                                Ok(match key {
                                    $( $key => Key::$field, )*
                                    _ => Key::Unknown,
                                })
                            }
                        }
                        deserializer.deserialize_identifier(KeyVisitor)
                    }
                }

                struct ObjectVisitor<'a>(std::marker::PhantomData<$name<'a>>);
                impl<'de: 'a, 'a> Visitor<'de> for ObjectVisitor<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!($what, " (an object)"))
                    }
                    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<$name<'a>, M::Error> {
                        $( let mut $field: Option<Option<$type>> = None; )*
                        while let Some(key) = map.next_key::<Key>()? {
                            match key {
                                $( Key::$field => {
                                    if $field.is_some() {
                                        return Err(M::Error::duplicate_field($key));
                                    }
                                    $field = Some(map.next_value()?);
                                } )*
                                Key::Unknown => { map.next_value::<IgnoredAny>()?; }
                            }
                        }
                        Ok($name { $( $field: $field.flatten(), )* })
                    }
                }

                deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
            }
        }
    };
}

pub(super) use json_object;
