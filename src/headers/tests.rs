use std::time::Duration;

use http::{HeaderName, HeaderValue, Response, header};

use super::{layer::PERMISSIONS_POLICY, *};

fn dressed(layer: &HeadersLayer, worn: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in worn {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static(value));
    }
    layer.dress(&mut headers);
    headers
}

// proves MED-15
#[test]
fn a_header_of_the_set_is_there_once_whatever_was_worn() {
    let layer = HeadersLayer::new();
    let set = dressed(&layer, &[]);
    assert_eq!(set.len(), 12);
    for name in set.keys() {
        let mut worn = HeaderMap::new();
        worn.append(name, HeaderValue::from_static("spoof-1"));
        worn.append("x-own", HeaderValue::from_static("kept"));
        worn.append(name, HeaderValue::from_static("spoof-2"));
        layer.dress(&mut worn);
        let values: Vec<_> = worn.get_all(name).iter().collect();
        assert_eq!(values, [&set[name]], "{name}");
        assert_eq!(worn.len(), 13, "{name}");
    }
}

#[test]
fn other_headers_pass_with_all_their_values_in_order() {
    let worn = [("set-cookie", "a=1"), ("content-type", "text/plain"), ("set-cookie", "b=2"), ("set-cookie", "c=3")];
    let headers = dressed(&HeadersLayer::new(), &worn);
    let cookies: Vec<_> = headers.get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1", "b=2", "c=3"]);
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain");
}

#[test]
fn dressing_twice_is_dressing_once() {
    let layer = HeadersLayer::new();
    let once = dressed(&layer, &[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("server", "x")]);
    let mut twice = once.clone();
    layer.dress(&mut twice);
    assert_eq!(once, twice);
}

#[test]
fn what_reveals_the_server_is_removed() {
    let mut count = 0;
    for name in REVEALING.iter().chain(RETIRED) {
        let headers = dressed(&HeadersLayer::new(), &[(name, "1"), ("content-type", "a/b"), (name, "2")]);
        assert!(!headers.contains_key(*name), "{name}");
        assert!(headers.contains_key(header::CONTENT_TYPE), "{name}");
        count += 1;
    }
    assert_eq!(count, 87 + 4);
    // A list that is out of order would be searched in vain.
    assert!(REVEALING.is_sorted() && RETIRED.is_sorted());
}

// proves CCA-05
#[test]
fn hsts_is_two_years_with_subdomains() {
    let headers = dressed(&HeadersLayer::new(), &[]);
    assert_eq!(headers[header::STRICT_TRANSPORT_SECURITY], "max-age=63072000; includeSubDomains");
    let built = HeadersLayer::builder().build().unwrap();
    assert_eq!(dressed(&built, &[]), headers, "the builder's defaults are those of `new`");
}

#[test]
fn hsts_that_cannot_hold_does_not_build() {
    let days = |days: u64| Duration::from_secs(days * 24 * 60 * 60);
    let build = |hsts| HeadersLayer::builder().with_hsts(hsts).build();
    let value = |hsts| {
        let layer: HeadersLayer = build(hsts).unwrap();
        dressed(&layer, &[])[header::STRICT_TRANSPORT_SECURITY].clone()
    };
    // Both sides of the edge.
    assert_eq!(
        build(Hsts::new().with_max_age(days(365) - Duration::from_secs(1))).err(),
        Some(HeadersError::HstsMaxAge)
    );
    assert_eq!(value(Hsts::new().with_max_age(days(365))), "max-age=31536000; includeSubDomains");
    assert_eq!(value(Hsts::new().danger_without_subdomains()), "max-age=63072000");
    assert_eq!(build(Hsts::new().with_preload().danger_without_subdomains()).err(), Some(HeadersError::HstsPreload));
    assert_eq!(build(Hsts::new().with_preload().with_max_age(days(364))).err(), Some(HeadersError::HstsMaxAge));
    // A wrong setting is told over plain http too, where it would not be sent.
    let plain = HeadersLayer::builder().with_hsts(Hsts::new().with_max_age(days(1))).danger_over_plain_http();
    assert_eq!(plain.build().err(), Some(HeadersError::HstsMaxAge));
    assert_eq!(value(Hsts::new().with_preload()), "max-age=63072000; includeSubDomains; preload");
}

#[test]
fn the_page_of_defaults_says_what_is_sent() {
    let page = include_str!("../../docs/defaults.md");
    for (name, value) in &dressed(&HeadersLayer::new(), &[]) {
        // The page counts the features instead of listing them.
        let value = if name == PERMISSIONS_POLICY { "29 features denied" } else { value.to_str().unwrap() };
        let row = page.lines().find(|line| line.to_ascii_lowercase().contains(&format!("`{name}`")));
        assert!(row.is_some_and(|row| row.contains(value)), "{name}");
    }
    assert_eq!(Feature::ALL.len(), 29);
}

// proves CLA-09
#[test]
fn hsts_is_never_sent_over_plain_http() {
    let plain = HeadersLayer::builder().danger_over_plain_http().build().unwrap();
    let headers = dressed(&plain, &[("strict-transport-security", "max-age=1")]);
    assert!(!headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
    assert_eq!(headers.len(), 11, "and nothing else is missing");
}

// proves MED-16
#[test]
fn a_feature_is_denied_unless_it_is_opened_by_name() {
    let closed = dressed(&HeadersLayer::new(), &[])[PERMISSIONS_POLICY].to_str().unwrap().to_owned();
    for feature in ["camera", "microphone", "geolocation", "payment"] {
        assert!(closed.split(", ").any(|item| item == format!("{feature}=()")), "{feature}");
    }
    for feature in Feature::ALL {
        let policy = PermissionsPolicy::new().danger_open(*feature).danger_open(*feature);
        assert_eq!(policy.opened(), [*feature]);
        let open = policy.value().to_str().unwrap().to_owned();
        let differing: Vec<_> = open.split(", ").zip(closed.split(", ")).filter(|(a, b)| a != b).collect();
        let (own, denied) = (format!("{}=(self)", feature.as_str()), format!("{}=()", feature.as_str()));
        let expected = if *feature == Feature::SyncXhr { vec![] } else { vec![(own.as_str(), denied.as_str())] };
        assert_eq!(differing, expected);
    }
}

// proves MED-16
#[test]
fn an_exception_holds_for_its_response_alone() {
    let layer = HeadersLayer::new();
    let exception = Exception::new()
        .with_csp(Csp::pages())
        .danger_permissions(&PermissionsPolicy::new().danger_open(Feature::Microphone))
        .danger_cache_control(HeaderValue::from_static("public, max-age=60"))
        .danger_cache_control(HeaderValue::from_static("public, max-age=31536000, immutable"));
    let mut special = Response::new(());
    special.headers_mut().append(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    special.extensions_mut().insert(exception);
    layer.dress_response(&mut special);
    let headers = special.headers();
    let caching: Vec<_> = headers.get_all(header::CACHE_CONTROL).iter().collect();
    assert_eq!(caching, ["public, max-age=31536000, immutable"]);
    assert_eq!(headers[header::CONTENT_SECURITY_POLICY], Csp::pages().into_value());
    assert!(headers[PERMISSIONS_POLICY].to_str().unwrap().contains("microphone=(self)"));
    assert_eq!(headers.len(), 12);

    let mut plain = Response::new(());
    layer.dress_response(&mut plain);
    assert_eq!(*plain.headers(), dressed(&layer, &[]));
}

#[test]
fn the_crates_own_policies_pass_its_rules() {
    for own in [Csp::api(), Csp::pages()] {
        let text = own.clone().into_value();
        assert_eq!(Csp::new(text.to_str().unwrap()), Ok(own));
    }
}

#[test]
fn a_policy_that_a_browser_would_misread_does_not_build() {
    const REST: &str = "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
    let check = |directives: &str| Csp::new(&format!("{directives}; {REST}")).map(|_| ());
    let good = [
        "default-src 'none'",
        "default-src 'self'; script-src 'nonce-AAAA' 'strict-dynamic' 'sha256-AAAA='",
        "default-src 'self' https://api.clinic.example; img-src 'self' data:; upgrade-insecure-requests",
        "default-src 'none'; sandbox allow-forms; report-to csp; require-trusted-types-for 'script'",
    ];
    for directives in good {
        assert_eq!(check(directives), Ok(()), "{directives}");
    }
    let bad = [
        ("unquoted-self", "default-src self", CspError::Quotes("default-src")),
        ("unquoted-none", "default-src none", CspError::Quotes("default-src")),
        ("unquoted-nonce", "default-src 'self'; script-src nonce-AAAA", CspError::Quotes("script-src")),
        ("half-quoted", "default-src 'self", CspError::Quotes("default-src")),
        ("doubly-quoted", "default-src ''self''", CspError::Quotes("default-src")),
        ("quoted-host", "default-src 'clinic.example'", CspError::Quotes("default-src")),
        ("a-lone-quote", "default-src '", CspError::Quotes("default-src")),
        ("none-among-others", "default-src 'none' 'self'", CspError::NoneAmongOthers("default-src")),
        ("an-empty-list", "default-src", CspError::NotNone("default-src")),
        ("inline-scripts", "default-src 'self' 'unsafe-inline'", CspError::Unsafe("default-src")),
        ("inline-in-capitals", "default-src 'self' 'UNSAFE-INLINE'", CspError::Unsafe("default-src")),
        ("eval", "default-src 'self'; script-src 'unsafe-eval'", CspError::Unsafe("script-src")),
        ("wasm-eval", "default-src 'self'; script-src 'wasm-unsafe-eval'", CspError::Unsafe("script-src")),
        ("inline-styles", "default-src 'self'; style-src 'unsafe-inline'", CspError::Unsafe("style-src")),
        ("anybodys-scripts", "default-src 'self'; script-src *", CspError::Unsafe("script-src")),
        ("a-wildcard-host", "default-src 'self'; script-src https://*.example", CspError::Unsafe("script-src")),
        ("a-whole-scheme", "default-src https:", CspError::Unsafe("default-src")),
        ("data-scripts", "default-src 'self'; script-src-elem data:", CspError::Unsafe("script-src-elem")),
        ("twice", "default-src 'self'; default-src 'none'", CspError::Twice("default-src")),
        ("misspelt", "default-src 'self'; scrpt-src 'self'", CspError::Unknown(2)),
        ("in-capitals", "Default-Src 'self'", CspError::Unknown(1)),
        ("a-stray-semicolon", "default-src 'self';", CspError::Unknown(2)),
        ("header-injection", "default-src 'self'\r\nset-cookie: a=1", CspError::Text),
        ("not-ascii", "default-src 'self' https://clínica.example", CspError::Text),
    ];
    for (name, directives, error) in bad {
        assert_eq!(check(directives), Err(error), "{name}");
    }
    assert_eq!(Csp::new(""), Err(CspError::Unknown(1)));
    assert_eq!(Csp::new(&"a".repeat(4097)), Err(CspError::Text));
    let full = format!("default-src 'none'; {REST}");
    for directive in full.split("; ") {
        let name = directive.split(' ').next().unwrap();
        let without: Vec<_> = full.split("; ").filter(|other| *other != directive).collect();
        match Csp::new(&without.join("; ")) {
            Err(CspError::Missing(missing)) => assert_eq!(missing, name),
            other => panic!("without `{name}`: {other:?}"),
        }
    }
    for name in ["object-src", "base-uri"] {
        let wide = full.replace(&format!("{name} 'none'"), &format!("{name} 'self'"));
        assert_eq!(Csp::new(&wide), Err(CspError::NotNone(name)));
    }
}
