//! A host has one spelling, and a clinic's host leads to that clinic alone.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tower_ward::{
    id::TenantId,
    tenant::{Hosts, Site, parse_host},
};

static HOSTS: LazyLock<Hosts> = LazyLock::new(|| {
    let hosts = Hosts::new("{tenant}.clinic.example", "clinic.example").expect("good settings");
    for tenant in ["harbour", "meadow"] {
        hosts.register(TenantId::new(tenant).expect("a tenant's id")).expect("there is room");
    }
    hosts
});

// A line each: host, authority, server name.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n').map(|line| (!line.is_empty()).then_some(line));
    let mut line = || lines.next().flatten();
    let (host, authority, sni) = (line(), line(), line());

    if let Some(host) = host
        && let Ok(name) = parse_host(host)
    {
        assert_eq!(parse_host(name), Ok(name));
        let port = host.strip_prefix(name).expect("the name is the host's beginning");
        assert!(port.is_empty() || port.starts_with(':'));
    }
    if let Ok(site) = HOSTS.decide(host, authority, sni) {
        let name = match &site {
            Site::Clinic(tenant) => HOSTS.host_of(tenant),
            Site::Platform => "clinic.example".to_owned(),
        };
        for named in [host, authority].into_iter().flatten() {
            assert_eq!(parse_host(named), Ok(&*name));
        }
        assert!(sni.is_none_or(|sni| sni == name));
        assert_eq!(HOSTS.decide(Some(&name), None, None), Ok(site));
    }
});
