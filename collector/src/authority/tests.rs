use std::{fs, os::unix::fs::PermissionsExt as _};

use fleetmark_agent::clock::Clock;
use fleetmark_proto::role::Role;
use rustls::pki_types::{ServerName, UnixTime};

use super::*;

fn now() -> Timestamp {
    "2026-11-25T10:00:00.5Z".parse().unwrap()
}

fn authority() -> Authority {
    let names = ["collector.example", "192.0.2.7"].map(|name| ServerName::try_from(name).unwrap());
    Authority::make(&names, now()).unwrap()
}

fn web_1() -> Subject {
    Subject { role: Role::Agent, name: "web-1".parse().unwrap() }
}

fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn a_signed_certificate_says_who_and_until_when() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let signed = authority.sign(&request(&key), &web_1(), now()).unwrap();
    let (subject, certificate) = authority.read_own(&signed.certificate).unwrap();
    assert_eq!(subject, web_1());
    assert_eq!(certificate.key, Digest::of(&key.subject_public_key_info()));
    assert_eq!(certificate.key, signed.key);
    assert_eq!(certificate.key, authority.request_key(&request(&key)).unwrap());
    assert_eq!(certificate.begins_at.to_string(), "2026-11-25T09:55:00Z");
    assert_eq!(certificate.ends_at.to_string(), "2026-11-26T10:00:00Z");
    assert_eq!(certificate.ends_at, signed.ends_at);
    assert!(certificate.is_ours);
    let again = authority.sign(&request(&key), &web_1(), now()).unwrap();
    assert_ne!(again.certificate, signed.certificate, "each has a number of its own");
}

#[test]
fn of_a_request_only_the_key_is_taken() {
    let authority = authority();
    let key = KeyPair::generate().unwrap();
    let mut wants = CertificateParams::default();
    wants.subject_alt_names = vec![SanType::URI("fleetmark://operator/x".try_into().unwrap())];
    wants.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = wants.serialize_request(&key).unwrap().der().to_vec();
    let signed = authority.sign(&request, &web_1(), now()).unwrap();
    assert_eq!(authority.read_own(&signed.certificate).unwrap().0, web_1());
    assert!(!certificate::parse(&signed.certificate).unwrap().is_ca());
}

#[test]
fn requests_that_are_not_valid_are_refused_in_words() {
    let authority = authority();
    let refused = |request: &[u8]| authority.request_key(request).unwrap_err().to_string();
    let good = request(&KeyPair::generate().unwrap());
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert!(refused(&forged).contains("was not signed with its own key"));
    assert!(refused(b"").contains("cannot be read"));
    assert!(refused(&good[..good.len() - 1]).contains("cannot be read"));
    assert!(refused(&vec![0x30; limits::CERTIFICATE_BYTES + 1]).contains("is too long"));
    let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert!(refused(&request(&other)).contains("P-256"));
}

#[test]
fn certificates_of_others_are_not_read() {
    let (ours, theirs) = (authority(), authority());
    let key = KeyPair::generate().unwrap();
    let signed = theirs.sign(&request(&key), &web_1(), now()).unwrap().certificate;
    assert!(matches!(ours.read_own(&signed), Err(AuthorityError::Foreign)));
    assert_eq!(read(&signed).unwrap().0, web_1(), "what it says can be read");
    assert!(!read(&signed).unwrap().1.is_ours);
    let mut longer = signed.clone();
    longer.push(0);
    assert!(matches!(theirs.read_own(&longer), Err(AuthorityError::Certificate(_))));
    assert!(matches!(ours.read_own(b"no"), Err(AuthorityError::Certificate(_))));
    for nobody in [ours.certificate_der(), &ours.server.certificate] {
        assert!(matches!(ours.read_own(nobody), Err(AuthorityError::Certificate(_))));
    }
}

#[test]
fn a_certificate_names_one_subject() {
    let key = KeyPair::generate().unwrap();
    let with = |uris: &[&str]| {
        let mut params = CertificateParams::default();
        let uri = |uri: &&str| SanType::URI((*uri).try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        read(params.self_signed(&key).unwrap().der()).map(|(subject, _)| subject)
    };
    assert_eq!(with(&["spiffe://x/y", "fleetmark://agent/web-1"]).unwrap(), web_1());
    for wrong in [
        &["fleetmark://agent/a", "fleetmark://agent/b"][..],
        &["fleetmark://root/a"],
        &["fleetmark://agent/"],
        &["https://agent/a"],
        &[],
    ] {
        assert!(with(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn what_was_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("collector").join("authority");
    assert!(!Authority::is_in(&path));
    assert!(matches!(Authority::load(&path), Err(AuthorityError::Missing(_))));
    let authority = authority();
    authority.save(&path).unwrap();
    assert!(Authority::is_in(&path));
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let loaded = Authority::load(&path).unwrap();
    assert_eq!(loaded.pin(), authority.pin());
    assert_eq!(loaded.certificate_der(), authority.certificate_der());
    assert_eq!(loaded.server_chain(), authority.server_chain());
    let key = KeyPair::generate().unwrap();
    let signed = loaded.sign(&request(&key), &web_1(), now()).unwrap();
    assert_eq!(authority.read_own(&signed.certificate).unwrap().0, web_1());
    assert!(matches!(authority.save(&path), Err(AuthorityError::Exists(_))));
    assert!(!format!("{loaded:?}").contains("key"), "{loaded:?}");
}

#[test]
fn files_that_do_not_fit_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority");
    authority().save(&path).unwrap();
    fs::copy(path.join("server.key"), path.join("ca.key")).unwrap();
    let error = Authority::load(&path).unwrap_err().to_string();
    assert!(error.ends_with("ca.key is not the key of the certificate beside it"), "{error}");
    fs::write(path.join("ca.key"), "nonsense").unwrap();
    assert!(Authority::load(&path).unwrap_err().to_string().ends_with("holds no key"));
    fs::remove_file(path.join("ca.key")).unwrap();
    assert!(matches!(Authority::load(&path), Err(AuthorityError::Missing(_))));
    // Root may see everything, so what cannot be seen is one that leads in a circle.
    let circle = folder.path().join("circle");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    assert!(Authority::is_in(&circle.join("authority")), "there may be one");
    assert!(matches!(Authority::load(&circle), Err(AuthorityError::File { .. })));
}

#[test]
fn the_servers_certificate_is_renewed_in_time_with_the_same_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("authority");
    let authority = authority();
    authority.save(&path).unwrap();
    let days = |days: u32| now() + DAY * days;
    assert!(!Authority::renew_server(&path, days(240)).unwrap());
    assert!(Authority::renew_server(&path, days(244)).unwrap());
    assert!(!Authority::renew_server(&path, days(244)).unwrap());
    let renewed = Authority::load(&path).unwrap();
    assert_eq!(renewed.server().ends_at(), whole_second(days(244 + 365)));
    assert_eq!(renewed.server.key.serialized_der(), authority.server.key.serialized_der());
    let end = rustls::server::ParsedCertificate::try_from(&renewed.server.certificate).unwrap();
    for name in ["collector.example", "192.0.2.7", "localhost", "127.0.0.1", "::1"] {
        let name = ServerName::try_from(name).unwrap();
        rustls::client::verify_server_name(&end, &name).unwrap();
    }
    let other = ServerName::try_from("other.example").unwrap();
    assert!(rustls::client::verify_server_name(&end, &other).is_err());
}

#[test]
fn certificates_are_checked_by_the_given_clock() {
    use rustls::time_provider::TimeProvider as _;
    let clock = Clock::new(now);
    let since = Duration::from_secs(1_795_600_800);
    assert_eq!(clock.current_time().map(|time| time.as_secs()), Some(since.as_secs()));
    assert_eq!(Clock::new(|| Timestamp::MIN).current_time(), None::<UnixTime>);
}
