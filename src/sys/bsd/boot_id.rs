//! The forms in which kernels name their boot. Compiled by the tests on Linux, too.

use crate::record::WriterId;

/// 16 bytes (FreeBSD), or a UUID in text that ends with a NUL (macOS).
pub(super) fn parse(value: &[u8]) -> Option<[u8; 16]> {
    let binary = value.try_into().ok();
    binary.or_else(|| {
        let text = value.strip_suffix(&[0]).unwrap_or(value);
        let id: WriterId = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some(*id.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Two processes that read one boot id in two ways would take each other for dead after a reboot.
    #[test]
    fn a_boot_id_is_read_as_bytes_and_as_text() {
        let bytes = [
            0x0f, 0x1e, 0x2d, 0x3c, 0x4b, 0x5a, 0x69, 0x78, 0x87, 0x96, 0xa5, 0xb4, 0xc3, 0xd2,
            0xe1, 0xf0,
        ];
        assert_eq!(parse(&bytes), Some(bytes));
        for text in [
            "0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0\0",
            "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(bytes), "{text}");
        }
        for other in ["", "\0", "0F1E2D3C", "not a boot id, but longer than one"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }
}
