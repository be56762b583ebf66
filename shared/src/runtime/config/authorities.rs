//! Certificate authorities from a setting.

use anyhow::{Context as _, ensure};

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// The certificates of a setting, as PEM. The value is a file's path or, if no file can be mounted, the certificates
/// themselves.
pub fn authorities(setting: &str, value: &str) -> anyhow::Result<String> {
    let value = value.trim();
    if value.starts_with("-----BEGIN") {
        ensure!(value.contains(CERTIFICATE), "{setting} holds no certificate");
        return Ok(value.to_owned());
    }
    let text = std::fs::read_to_string(value).with_context(|| format!("{setting}={value}"))?;
    ensure!(text.contains(CERTIFICATE), "{setting}={value}: there is no certificate in it");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_from_a_file_or_from_the_setting_itself() {
        let pem = format!("{CERTIFICATE}\nAA==\n-----END CERTIFICATE-----");
        assert_eq!(authorities("S", &format!(" {pem}\n")).unwrap(), pem);
        let file = std::env::temp_dir().join(format!("authorities-{}.pem", std::process::id()));
        std::fs::write(&file, &pem).unwrap();
        assert_eq!(authorities("S", &file.to_string_lossy()).unwrap(), pem);
        std::fs::remove_file(&file).unwrap();
        let said = |value: &str| format!("{:#}", authorities("S", value).unwrap_err());
        assert_eq!(said("/dev/null"), "S=/dev/null: there is no certificate in it");
        assert!(said("/nowhere/ca.pem").starts_with("S=/nowhere/ca.pem: No such file"), "{}", said("/nowhere/ca.pem"));
        assert_eq!(said("-----BEGIN PRIVATE KEY-----"), "S holds no certificate");
    }
}
