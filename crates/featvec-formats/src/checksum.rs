//! The masked CRC-32C with which TensorFlow guards blocks and tensors.

/// The CRC-32C of `bytes`, rotated and offset: a checksum of data that itself contains checksums would otherwise be
/// weak.
pub fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_check_value_holds() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn tensors_of_a_genuine_hub_module_have_these_checksums() {
        assert_eq!(masked_crc32c(&0.5f32.to_le_bytes()), 0x1f27_3806);
        assert_eq!(masked_crc32c(&2.0f32.to_le_bytes()), 0x4f78_fd10);
    }
}
