//! Certificates: what lies in the folder after each kind of start.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use clinic::certs::{self, CertError, Certs, RENEW_BEFORE, Reason, VALIDITY};
use jiff::{SignedDuration, Timestamp};

const HOSTS: [&str; 3] = ["harbour.localhost", "meadow.localhost", "northgate.localhost"];

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn open(dir: &Path) -> Certs {
    certs::open(dir, &HOSTS, now()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_second_start_uses_what_the_first_made() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert_eq!(first.made(), Some(Reason::First));
    let second = open(dir.path());
    assert_eq!(second.made(), None);
    assert_eq!((first.chain(), first.ca()), (second.chain(), second.ca()));
    let reordered = certs::open(dir.path(), &[HOSTS[2], HOSTS[0], HOSTS[1], HOSTS[0]], now()).unwrap();
    assert_eq!(reordered.made(), None, "the order of hosts says nothing");
}

#[test]
fn the_key_is_for_the_owner_and_the_authority_for_everybody() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    assert_eq!(mode(&dir.path().join("tls.pem")), 0o600);
    assert_eq!(mode(&dir.path().join("ca.pem")), 0o644);
}

#[test]
fn the_authority_key_is_written_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let mut files: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["ca.pem", "tls.pem"]);
    let count = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap().matches("PRIVATE KEY-----").count();
    assert_eq!(count("ca.pem"), 0);
    // One key: begin and end. `certs` refuses it unless it is the server's.
    assert_eq!(count("tls.pem"), 2);
}

#[test]
fn no_debug_output_shows_a_key() {
    let dir = tempfile::tempdir().unwrap();
    let certs = open(dir.path());
    let rustls_pki_types::PrivateKeyDer::Pkcs8(key) = certs.key() else { panic!("keys are PKCS #8") };
    let shown = format!("{certs:?}");
    assert!(!shown.contains(&format!("{:?}", key.secret_pkcs8_der())));
    assert!(shown.contains("[secret key elided]"));
}

#[test]
fn certificates_are_renewed_at_seven_days_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let made = open(dir.path());
    // Backdated by an hour.
    let end = now() + VALIDITY - SignedDuration::from_hours(1);
    let last = end - RENEW_BEFORE;
    assert_eq!(certs::open(dir.path(), &HOSTS, last).unwrap().made(), None);
    let renewed = certs::open(dir.path(), &HOSTS, last + SignedDuration::from_secs(1)).unwrap();
    assert_eq!(renewed.made(), Some(Reason::Ending));
    assert_ne!(renewed.ca(), made.ca(), "the old authority's key is gone");
}

#[test]
fn no_certificate_outlasts_397_days() {
    assert!(VALIDITY.as_secs() <= 397 * 24 * 3600);
}

#[test]
fn a_clock_set_back_makes_new_certificates() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let earlier = now() - SignedDuration::from_hours(1);
    assert_eq!(certs::open(dir.path(), &HOSTS, earlier).unwrap().made(), None);
    let too_early = earlier - SignedDuration::from_secs(1);
    assert_eq!(certs::open(dir.path(), &HOSTS, too_early).unwrap().made(), Some(Reason::NotYet));
}

#[test]
fn another_list_of_hosts_makes_new_certificates() {
    for hosts in [&HOSTS[..2], &[HOSTS[0], HOSTS[1], HOSTS[2], "fourth.localhost"][..]] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        assert_eq!(certs::open(dir.path(), hosts, now()).unwrap().made(), Some(Reason::Hosts), "{hosts:?}");
        assert_eq!(certs::open(dir.path(), hosts, now()).unwrap().made(), None, "{hosts:?}");
    }
}

#[test]
fn a_key_that_others_could_read_is_not_used_again() {
    for exposed in [0o640, 0o604, 0o660, 0o666] {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path());
        let path = dir.path().join("tls.pem");
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let second = open(dir.path());
        assert_eq!(second.made(), Some(Reason::Exposed), "{exposed:o}");
        assert_ne!(first.key(), second.key());
        assert_eq!(mode(&path), 0o600);
    }
}

#[test]
fn damaged_or_mismatched_files_are_replaced() {
    let other = tempfile::tempdir().unwrap();
    open(other.path());
    let foreign_ca = fs::read(other.path().join("ca.pem")).unwrap();
    let foreign_leaf = fs::read(other.path().join("tls.pem")).unwrap();

    let cut = |file: &str, dir: &Path| {
        let path = dir.join(file);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    };
    type Damage<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>);
    let cases: [Damage<'_>; 5] = [
        ("tls.pem cut", Box::new(|dir| cut("tls.pem", dir))),
        ("ca.pem cut", Box::new(|dir| cut("ca.pem", dir))),
        ("tls.pem empty", Box::new(|dir| fs::write(dir.join("tls.pem"), "").unwrap())),
        // As after a crash between the two renames.
        ("ca.pem of another", Box::new(|dir| fs::write(dir.join("ca.pem"), &foreign_ca).unwrap())),
        ("key of another", {
            Box::new(|dir| {
                let path = dir.join("tls.pem");
                let own = fs::read_to_string(&path).unwrap();
                let foreign = String::from_utf8(foreign_leaf.clone()).unwrap();
                let begin = "-----BEGIN PRIVATE KEY";
                let mixed = own[..own.find(begin).unwrap()].to_owned() + &foreign[foreign.find(begin).unwrap()..];
                fs::write(&path, mixed).unwrap();
            })
        }),
    ];
    for (name, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        damage(dir.path());
        assert_eq!(open(dir.path()).made(), Some(Reason::Damaged), "{name}");
        assert_eq!(open(dir.path()).made(), None, "{name}");
    }
}

#[test]
fn a_missing_file_is_a_first_start() {
    for file in ["ca.pem", "tls.pem"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path());
        fs::remove_file(dir.path().join(file)).unwrap();
        assert_eq!(open(dir.path()).made(), Some(Reason::First), "{file}");
    }
}

#[test]
fn a_link_left_in_the_way_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    // An interrupted start leaves this name behind; somebody else could have made it a link.
    symlink(&victim, dir.path().join("tls.pem.new")).unwrap();
    open(dir.path());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(!dir.path().join("tls.pem.new").exists());
}

#[test]
fn a_host_beyond_this_machine_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    for host in ["harbour.example", "192.0.2.1", "*.localhost", "Harbour.localhost"] {
        let refused = certs::open(dir.path(), &[HOSTS[0], host], now());
        assert!(matches!(refused, Err(CertError::Host { host: named }) if named == host), "{host}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_not_there_is_named_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let refused = certs::open(&missing, &HOSTS, now()).unwrap_err();
    assert!(refused.to_string().contains("missing"), "{refused}");
}
