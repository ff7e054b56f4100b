//! TensorFlow's element types.

use std::fmt;

macro_rules! data_types {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $bytes:expr;)*) => {
        /// The type of a tensor's elements, of any tensor that a TensorFlow file may mention.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DataType {
            $($(#[$doc])* $name,)*
            /// A code that featvec does not know; 0 is "invalid".
            Unknown(i32),
        }

        impl DataType {
            /// The type with TensorFlow's enum value `code`. A reference type (100 more) counts as its base.
            pub fn from_code(code: i32) -> DataType {
                match if (101..200).contains(&code) { code - 100 } else { code } {
                    $($code => DataType::$name,)*
                    _ => DataType::Unknown(code),
                }
            }

            /// TensorFlow's enum value.
            pub fn code(self) -> i32 {
                match self {
                    $(DataType::$name => $code,)*
                    DataType::Unknown(code) => code,
                }
            }

            /// Bytes of one element, where every element takes the same.
            pub fn element_bytes(self) -> Option<usize> {
                match self {
                    $(DataType::$name => $bytes,)*
                    DataType::Unknown(_) => None,
                }
            }
        }

        impl fmt::Display for DataType {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(DataType::$name => f.write_str($text),)*
                    DataType::Unknown(code) => write!(f, "type {code}"),
                }
            }
        }
    };
}

data_types! {
    /// 32-bit float.
    F32 = 1, "float32", Some(4);
    /// 64-bit float.
    F64 = 2, "float64", Some(8);
    /// 32-bit integer.
    I32 = 3, "int32", Some(4);
    /// Byte.
    U8 = 4, "uint8", Some(1);
    /// 16-bit integer.
    I16 = 5, "int16", Some(2);
    /// Signed byte.
    I8 = 6, "int8", Some(1);
    /// Byte strings.
    String = 7, "string", None;
    /// A pair of 32-bit floats.
    Complex64 = 8, "complex64", Some(8);
    /// 64-bit integer.
    I64 = 9, "int64", Some(8);
    /// One byte, 0 or 1.
    Bool = 10, "bool", Some(1);
    /// Quantised signed byte.
    QI8 = 11, "qint8", Some(1);
    /// Quantised byte.
    QU8 = 12, "quint8", Some(1);
    /// Quantised 32-bit integer.
    QI32 = 13, "qint32", Some(4);
    /// The upper half of a 32-bit float.
    BF16 = 14, "bfloat16", Some(2);
    /// Quantised 16-bit integer.
    QI16 = 15, "qint16", Some(2);
    /// Quantised unsigned 16-bit integer.
    QU16 = 16, "quint16", Some(2);
    /// Unsigned 16-bit integer.
    U16 = 17, "uint16", Some(2);
    /// A pair of 64-bit floats.
    Complex128 = 18, "complex128", Some(16);
    /// IEEE 16-bit float.
    F16 = 19, "float16", Some(2);
    /// A handle to a variable.
    Resource = 20, "resource", None;
    /// Anything at all.
    Variant = 21, "variant", None;
    /// Unsigned 32-bit integer.
    U32 = 22, "uint32", Some(4);
    /// Unsigned 64-bit integer.
    U64 = 23, "uint64", Some(8);
}
