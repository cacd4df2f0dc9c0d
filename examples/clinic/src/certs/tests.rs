//! What needs the authority's key at hand: elsewhere it is gone.

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
};

use super::*;

const NOW: &str = "2026-01-01T00:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// What a rustls client that trusts `ca` says of `chain` when it wanted to reach `host`.
fn client(ca: &str, chain: &[CertificateDer<'_>], host: &str) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), aws_lc_rs::default_provider().into())
        .build()
        .unwrap();
    let time = UnixTime::since_unix_epoch(now().as_duration().try_into().unwrap());
    let host = ServerName::try_from(host.to_owned()).unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &host, &[], time).map(drop)
}

fn constraint_violated(result: Result<(), Error>) -> bool {
    let Err(Error::InvalidCertificate(CertificateError::Other(other))) = result else {
        return false;
    };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::NameConstraintViolation)
}

#[test]
fn a_leaf_outside_the_constraints_is_refused_though_the_authority_signed_it() {
    let authority = Authority::new(now()).unwrap();
    let issue = |name: &str| {
        let pem = authority.issue([name.to_owned()].into_iter(), now()).unwrap();
        [CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()]
    };

    for host in ["localhost", "harbour.localhost", "deep.harbour.localhost", "127.0.0.1", "::1"] {
        assert_eq!(client(&authority.certificate, &issue(host), host), Ok(()), "{host}");
    }
    for host in ["bank.example", "localhost.example", "notlocalhost", "127.0.0.2", "192.0.2.1", "::2"] {
        let refused = client(&authority.certificate, &issue(host), host);
        assert!(constraint_violated(refused), "{host}");
    }
}

#[test]
fn one_outside_name_spoils_a_leaf_that_also_names_a_good_host() {
    let authority = Authority::new(now()).unwrap();
    let names = ["harbour.localhost", "bank.example"].map(str::to_owned);
    let pem = authority.issue(names.into_iter(), now()).unwrap();
    let leaf = [CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
    assert!(constraint_violated(client(&authority.certificate, &leaf, "harbour.localhost")));
}

#[test]
fn an_authority_under_the_authority_gains_no_name() {
    let authority = Authority::new(now()).unwrap();
    let mut sub = validity(CertificateParams::default(), now()).unwrap();
    sub.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    sub.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    sub.distinguished_name.push(DnType::CommonName, "sub");
    let sub_key = KeyPair::generate().unwrap();
    let sub_cert = sub.signed_by(&sub_key, &Issuer::from_params(&authority.params, &authority.key)).unwrap();

    let mut leaf = validity(CertificateParams::new(["bank.example".to_owned()]).unwrap(), now()).unwrap();
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&leaf_key, &Issuer::from_params(&sub, &sub_key)).unwrap();

    let chain = [leaf.der().clone(), sub_cert.der().clone()];
    assert!(constraint_violated(client(&authority.certificate, &chain, "bank.example")));
}

#[test]
fn the_authority_says_that_none_may_stand_under_it() {
    // rustls does not read a trust anchor's path length, so the certificate's own bytes are the proof:
    // basicConstraints (2.5.29.19), critical, cA = TRUE, pathLenConstraint = 0.
    const ZERO: [u8; 20] = [
        0x30, 0x12, 0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x08, 0x30, 0x06, 0x01, 0x01, 0xff, 0x02,
        0x01, 0,
    ];
    let authority = Authority::new(now()).unwrap();
    let der = CertificateDer::from_pem_slice(authority.certificate.as_bytes()).unwrap();
    assert!(der.windows(ZERO.len()).any(|window| window == ZERO));
}

#[test]
fn hosts_are_local_names_in_canonical_form() {
    for host in ["localhost", "harbour.localhost", "a.b-c.localhost", "1.localhost"] {
        assert!(is_local(host), "{host}");
    }
    let long = format!("{}.localhost", "a".repeat(64));
    for host in [
        "",
        ".localhost",
        "harbour..localhost",
        "Harbour.localhost",
        "harbour.localhost.",
        "-a.localhost",
        "a-.localhost",
        "*.localhost",
        "notlocalhost",
        "localhost.example",
        "harbour.example",
        "har bour.localhost",
        "häfen.localhost",
        &long,
    ] {
        assert!(!is_local(host), "{host}");
    }
}
