//! A real OpenBao server, started by the test: TLS with an authority of its own, storage that outlives it, a transit
//! engine. And the verbs by which an operator takes keys and tokens away.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower_ward::keys::{KeySource, TransitOptions};

use super::program::program;

/// An authority, and a certificate of its for 127.0.0.1 and for no name.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) ca: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
        Self { ca, certificate, key: key.serialize_pem() }
    }
}

/// The server. It ends with this value.
#[derive(Debug)]
pub(crate) struct Bao {
    folder: TempDir,
    port: u16,
    tls: Arc<ClientConfig>,
    child: Option<Child>,
    unseal_key: String,
    root_token: String,
}

impl Bao {
    /// A server that is unsealed, with an empty transit engine at `transit`.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        for (name, text) in
            [("ca.pem", &authority.ca), ("server.pem", &authority.certificate), ("server.key", &authority.key)]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.ca.as_bytes()).unwrap()).unwrap();
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (port, cluster) = free_ports();
        std::fs::write(folder.path().join("bao.hcl"), configuration(folder.path(), port, cluster)).unwrap();
        let mut bao = Self {
            folder,
            port,
            tls: Arc::new(tls),
            child: None,
            unseal_key: String::new(),
            root_token: String::new(),
        };
        bao.run();
        let made = bao.ok("PUT", "sys/init", &json!({ "secret_shares": 1, "secret_threshold": 1 }));
        bao.unseal_key = made["keys_base64"][0].as_str().unwrap().to_owned();
        bao.root_token = made["root_token"].as_str().unwrap().to_owned();
        bao.unseal();
        bao.ok("POST", "sys/mounts/transit", &json!({ "type": "transit" }));
        bao
    }

    pub(crate) fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Settings for the key, and a new token with all that a provider asks for.
    pub(crate) fn options(&self, key: &str) -> TransitOptions {
        self.options_with(key, &self.token(key))
    }

    /// Settings for the key, and this token.
    pub(crate) fn options_with(&self, key: &str, token: &str) -> TransitOptions {
        TransitOptions::new(self.address(), key, self.keep(token)).with_ca_file(self.ca_file())
    }

    /// A token that may do with the key all that a provider asks for.
    pub(crate) fn token(&self, key: &str) -> String {
        self.token_for(key, &["encrypt", "decrypt", "keys"])
    }

    /// A token for some of `encrypt`, `decrypt` and `keys`, and nothing else.
    pub(crate) fn token_for(&self, key: &str, verbs: &[&str]) -> String {
        let rule = |verb: &&str| {
            let capability = if *verb == "keys" { "read" } else { "update" };
            format!("path \"transit/{verb}/{key}\" {{ capabilities = [\"{capability}\"] }}\n")
        };
        let policy: String = verbs.iter().map(rule).collect();
        let name = format!("{key}-{}", verbs.join("-"));
        self.ok("PUT", &format!("sys/policies/acl/{name}"), &json!({ "policy": policy }));
        let settings = json!({ "policies": [name], "no_default_policy": true, "ttl": "1h" });
        let made = self.ok("POST", "auth/token/create", &settings);
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Puts a token into a new file.
    pub(crate) fn keep(&self, token: &str) -> KeySource {
        let file = tempfile::Builder::new().prefix("token-").tempfile_in(self.folder.path()).unwrap();
        std::fs::write(&file, format!("{token}\n")).unwrap();
        KeySource::File(file.into_temp_path().keep().unwrap())
    }

    pub(crate) fn create_key(&self, key: &str) {
        self.create_key_with(key, &json!({ "type": "aes256-gcm96" }));
    }

    pub(crate) fn create_key_with(&self, key: &str, settings: &Value) {
        self.ok("POST", &format!("transit/keys/{key}"), settings);
    }

    pub(crate) fn configure_key(&self, key: &str, settings: &Value) {
        self.ok("POST", &format!("transit/keys/{key}/config"), settings);
    }

    /// Gives the key a new version. What was wrapped under the old ones still opens.
    pub(crate) fn rotate(&self, key: &str) {
        self.ok("POST", &format!("transit/keys/{key}/rotate"), &json!({}));
    }

    /// Gives the key a new version, and disables all before it.
    pub(crate) fn disable_old_versions(&self, key: &str) {
        self.rotate(key);
        let state = self.ok("GET", &format!("transit/keys/{key}"), &Value::Null);
        self.configure_key(key, &json!({ "min_decryption_version": state["data"]["latest_version"] }));
    }

    /// Lets all versions decrypt again.
    pub(crate) fn enable_old_versions(&self, key: &str) {
        self.configure_key(key, &json!({ "min_decryption_version": 1 }));
    }

    /// Disables the key until it is restored.
    pub(crate) fn soft_delete(&self, key: &str) {
        self.ok("DELETE", &format!("transit/keys/{key}/soft-delete"), &Value::Null);
    }

    pub(crate) fn restore(&self, key: &str) {
        self.ok("POST", &format!("transit/keys/{key}/soft-delete-restore"), &json!({}));
    }

    /// Destroys the key.
    pub(crate) fn delete(&self, key: &str) {
        self.configure_key(key, &json!({ "deletion_allowed": true }));
        self.ok("DELETE", &format!("transit/keys/{key}"), &Value::Null);
    }

    pub(crate) fn revoke(&self, token: &str) {
        self.ok("POST", "auth/token/revoke", &json!({ "token": token }));
    }

    pub(crate) fn seal(&self) {
        self.ok("PUT", "sys/seal", &json!({}));
    }

    /// Unseals, and waits until the server is active.
    pub(crate) fn unseal(&self) {
        self.ok("PUT", "sys/unseal", &json!({ "key": self.unseal_key }));
        self.wait_for("sys/health", |status| status == 200);
    }

    /// Ends the server; what it stored stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server again, over what it had stored, and unseals it.
    pub(crate) fn restart(&mut self) {
        self.run();
        self.unseal();
    }

    fn run(&mut self) {
        self.stop();
        let log = std::fs::File::options().append(true).create(true).open(self.folder.path().join("bao.log")).unwrap();
        let child = Command::new(program("bao"))
            .args(["server", "-config=bao.hcl"])
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        self.wait_for("sys/health", |_| true);
    }

    fn wait_for(&self, path: &str, good: impl Fn(u16) -> bool) {
        for _ in 0..600 {
            if self.call("GET", path, &Value::Null).is_some_and(|(status, _)| good(status)) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        panic!("{path} in 30 s; the server's log: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("bao.log")).unwrap_or_default()
    }

    /// Asks as the operator, and takes no refusal.
    pub(crate) fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.call(method, path, body).unwrap_or_else(|| panic!("{path}: {}", self.log()));
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// Asks as the operator. `None`, if the server does not answer.
    fn call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name).unwrap(), tcp);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let token =
            if self.root_token.is_empty() { String::new() } else { format!("X-Vault-Token: {}\r\n", self.root_token) };
        let length = body.len();
        // Of version 1.0, so that the answer comes in one piece and the connection ends after it.
        write!(stream, "{method} /v1/{path} HTTP/1.0\r\nHost: bao\r\n{token}Content-Length: {length}\r\n\r\n{body}")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).unwrap_or_default()))
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two ports that nobody listened to a moment ago.
fn free_ports() -> (u16, u16) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [one, two] = listeners.map(|listener| listener.local_addr().unwrap().port());
    (one, two)
}

fn configuration(folder: &Path, port: u16, cluster: u16) -> String {
    let folder = folder.display();
    format!(
        r#"
storage "raft" {{
  path                   = "{folder}/data"
  node_id                = "one"
  # Otherwise it waits 15 s for others before it elects itself.
  performance_multiplier = 1
}}
listener "tcp" {{
  address         = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file   = "{folder}/server.pem"
  tls_key_file    = "{folder}/server.key"
  tls_min_version = "tls13"
}}
api_addr     = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
"#
    )
}
