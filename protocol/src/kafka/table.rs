//! The macro that turns a table of fields into a structure with both directions. Owns the meaning of a table's words; the
//! tables stand with the messages. Any core.
//!
//! A line of a table is `name: type => versions, words;` where the words are, in this order and each only where needed:
//! `null VERSIONS` (a nullable type is null in these versions only; else in all), `default VALUE` (what an absent field is
//! taken to be; else the type's own), `tag NUMBER` (it is a tagged field, and absent while it has its default) and `ignorable true`
//! (a version without the field drops any value; else only the default can be dropped). Fields stand in the order of the
//! wire, tagged ones by their tags. It is the same table that Kafka keeps as JSON.

/// Calls nothing and owns nothing: see the module.
macro_rules! structures {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$life:lifetime>)? {$(
            $(#[$field_doc:meta])*
            $field:ident: $type:ty => $versions:expr
                $(, null $null:expr)? $(, default $default:expr)? $(, tag $tag:literal)? $(, ignorable $ignorable:literal)?;
        )*}
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name $(<$life>)? {$(
            $(#[$field_doc])*
            pub $field: $type,
        )*}

        impl $(<$life>)? Default for $name $(<$life>)? {
            fn default() -> Self {
                Self {$(
                    $field: $crate::kafka::table::or_default!($($default)?),
                )*}
            }
        }

        impl<'a> $crate::kafka::field::Structure<'a> for $name $(<$life>)? {}

        #[allow(unused_mut, unused_variables, unused_comparisons, reason = "not every table uses all of it")]
        impl<'a> $crate::kafka::field::Field<'a> for $name $(<$life>)? {
            fn read(
                reader: &mut $crate::kafka::reader::Reader<'a>,
                _: &'static str,
            ) -> Result<Self, $crate::kafka::reader::DecodeError> {
                use $crate::kafka::field::Field;

                let version = reader.shape().version;
                let mut value = Self::default();
                $($crate::kafka::table::untagged! { [$($tag)?] {
                    if ($versions).contains(&version) {
                        value.$field = Field::read(reader, stringify!($field))?;
                        $(
                            let legal = ($null).contains(&version);
                            $crate::kafka::field::check_null(reader, stringify!($field), value.$field.as_ref(), legal)?;
                        )?
                    }
                }})*
                if reader.shape().flexible {
                    reader.tags(|tag, reader| {
                        $($crate::kafka::table::tagged! { [$($tag)?] {
                            if $(tag == $tag &&)? ($versions).contains(&version) {
                                value.$field = Field::read(reader, stringify!($field))?;
                                return Ok(true);
                            }
                        }})*
                        Ok(false)
                    })?;
                }
                Ok(value)
            }

            fn write(
                &self,
                writer: &mut $crate::kafka::writer::Writer<'_>,
                _: &'static str,
            ) -> Result<(), $crate::kafka::writer::EncodeError> {
                let version = writer.shape().version;
                let default = Self::default();
                let mut tag_count = 0;
                $(
                    if ($versions).contains(&version) {
                        $crate::kafka::table::untagged! { [$($tag)?] {
                            $(
                                let legal = ($null).contains(&version);
                                $crate::kafka::field::check_null_written(writer, stringify!($field), self.$field.as_ref(), legal)?;
                            )?
                            self.$field.write(writer, stringify!($field))?;
                        }}
                        $crate::kafka::table::tagged! { [$($tag)?] {
                            tag_count += u32::from(self.$field != default.$field);
                        }}
                    } else {
                        $crate::kafka::table::untagged! { [$($ignorable)?] {
                            if self.$field != default.$field {
                                return Err(writer.absent(stringify!($field)));
                            }
                        }}
                    }
                )*
                if writer.shape().flexible {
                    writer.uvarint(tag_count);
                    $($crate::kafka::table::tagged! { [$($tag)?] {
                        if ($versions).contains(&version) && self.$field != default.$field {
                            $(writer.tagged($tag, |writer| self.$field.write(writer, stringify!($field)))?;)?
                        }
                    }})*
                }
                Ok(())
            }

            fn bytes_min(shape: $crate::kafka::reader::Shape) -> usize {
                let mut bytes = usize::from(shape.flexible);
                $($crate::kafka::table::untagged! { [$($tag)?] {
                    if ($versions).contains(&shape.version) {
                        bytes += <$type as $crate::kafka::field::Field<'a>>::bytes_min(shape);
                    }
                }})*
                bytes
            }

            #[cfg(any(test, feature = "samples"))]
            fn sample(
                sampler: &mut $crate::kafka::sample::Sampler,
                shape: $crate::kafka::reader::Shape,
            ) -> Self {
                use $crate::kafka::field::Field;

                let mut value = Self::default();
                $(
                    if ($versions).contains(&shape.version) {
                        value.$field = Field::sample(sampler, shape);
                        $(
                            while value.$field.is_none() && !($null).contains(&shape.version) {
                                value.$field = Field::sample(sampler, shape);
                            }
                        )?
                    }
                )*
                value
            }
        }
    )*};
}

/// The code, unless there is a word in front of it.
macro_rules! untagged {
    ([] { $($code:tt)* }) => { $($code)* };
    ([$word:tt] { $($code:tt)* }) => {};
}

/// The code, if there is a word in front of it.
macro_rules! tagged {
    ([] { $($code:tt)* }) => {};
    ([$word:tt] { $($code:tt)* }) => { $($code)* };
}

/// The value, or the type's own.
macro_rules! or_default {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

pub(super) use {or_default, structures, tagged, untagged};
