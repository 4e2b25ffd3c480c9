//! What a wrong setting is answered with, word for word.

use super::*;

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
    let directory = std::env::temp_dir().join(format!("signalhouse-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a writable directory");
    let name = std::thread::current().name().unwrap_or("main").replace("::", "-");
    let file = directory.join(format!("{name}.toml"));
    std::fs::write(&file, text).expect("a writable file");
    let variables = environment.iter();
    let sources = Sources {
        file: Some(file.clone()),
        environment: variables.map(|(name, value)| ((*name).into(), (*value).into())).collect(),
    };
    let loaded = load(&sources, &Overrides::default());
    std::fs::remove_file(&file).expect("the file is ours");
    loaded.map_err(|problem| problem.to_string().replace(&file.display().to_string(), "FILE"))
}

/// Files that are wrong, and the line that says so.
const WRONG_FILES: &[(&str, &str)] = &[
    (
        "[limits]\nconections = 5",
        "FILE:2:1: limits.conections: unknown key; did you mean connections?",
    ),
    ("[limit]\nconnections = 5", "FILE:1:2: limit: unknown section; did you mean [limits]?"),
    (
        "connections = 5",
        "FILE:1:1: connections: unknown section; connections belongs under [limits]",
    ),
    (
        "[network]\nallow_anonymous = true",
        "FILE:2:1: network.allow_anonymous: unknown key; it belongs under [security]",
    ),
    ("[stop]\nzebra = 1", "FILE:2:1: stop.zebra: unknown key; `signalhouse check` shows every key"),
    (
        "[limits]\nreceive_maximum = \"many\"",
        "FILE:2:19: limits.receive_maximum: a string is not what it takes; write a whole \
             number from 1 to 65535, such as receive_maximum = 1024",
    ),
    (
        "[limits]\n  receive_maximum = 0",
        "FILE:2:21: limits.receive_maximum: 0 is out of range; write a whole number from 1 to \
             65535, such as receive_maximum = 1024",
    ),
    (
        "[limits]\nreceive_maximum = -1",
        "FILE:2:19: limits.receive_maximum: -1 is out of range; write a whole number from 1 \
             to 65535, such as receive_maximum = 1024",
    ),
    (
        "[limits]\nreceive_maximum = 99999999999999999999",
        "FILE:2:19: limits.receive_maximum: 99999999999999999999 is out of range; write a \
             whole number from 1 to 65535, such as receive_maximum = 1024",
    ),
    (
        "[limits]\nreceive_maximum = 1.5",
        "FILE:2:19: limits.receive_maximum: 1.5 is not a whole number; write a whole number \
             from 1 to 65535, such as receive_maximum = 1024",
    ),
    (
        "[limits]\nretain_available = 1",
        "FILE:2:20: limits.retain_available: an integer is not what it takes; write \
             retain_available = true or retain_available = false",
    ),
    (
        "[log]\nlevel = \"inof\"",
        "FILE:2:9: log.level: \"inof\" is not known, did you mean \"info\"?; write one of \
             \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
    ),
    (
        "[network]\nlisten = \"127.0.0.1:1883\"",
        "FILE:2:10: network.listen: a string is not what it takes; write a list of \
             \"ADDRESS:PORT\", such as listen = [\"127.0.0.1:1883\"]",
    ),
    (
        "[network]\nlisten = [\"127.0.0.1\"]",
        "FILE:2:10: network.listen: \"127.0.0.1\" has no port; write a list of \
             \"ADDRESS:PORT\", such as listen = [\"127.0.0.1:1883\"]",
    ),
    (
        "[network]\nlisten = []",
        "FILE:2:10: network.listen: nothing to listen on; write a list of \"ADDRESS:PORT\", \
             such as listen = [\"127.0.0.1:1883\"]",
    ),
    (
        "[network]\nlisten = [\"[::]:1883\"]",
        "FILE:2:10: network.listen: [::]:1883 is open to the network, and no client has to \
             say who it is; listen on 127.0.0.1, or set security.password_file, keys in [jwt] or \
             tls.client_certificates, or security.allow_anonymous = true \
             (SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS=true) if everybody may come in",
    ),
    (
        "[network]\nlisten_tls = [\"127.0.0.1:8883\"]",
        "FILE:2:14: network.listen_tls: there is no certificate; set tls.certificate_file and \
             tls.key_file",
    ),
    (
        "[network]\nlisten_websocket = [\"127.0.0.1:1883\"]",
        "FILE:2:20: network.listen_websocket: 127.0.0.1:1883 is another listener's already; give \
             each listener a port of its own",
    ),
    (
        "[tls]\nclient_certificates = \"required\"",
        "FILE:2:23: tls.client_certificates: nobody vouches for the certificates of clients; set \
             tls.client_ca_file",
    ),
    (
        "[websocket]\norigins = [\"example.com\"]",
        "FILE:2:11: websocket.origins: \"example.com\" is not an origin; write a list of \
             origins, such as origins = [\"https://example.com\"]",
    ),
    (
        "log = 5",
        "FILE:1:1: log: an integer, but it is a section; write [log] on a line of its own, its \
             keys below",
    ),
];

#[test]
fn every_wrong_file_has_its_line() {
    for (text, expected) in WRONG_FILES {
        assert_eq!(load_text(text, &[]).expect_err(text), *expected);
    }
}

#[test]
fn what_is_not_toml_is_one_line_too() {
    for text in ["[limits", "a = ", "= 5", "[log]\nlevel = \"a\nb\"", "\u{0}"] {
        let line = load_text(text, &[]).expect_err(text);
        assert!(line.starts_with("FILE:") && line.contains("not TOML"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}

#[test]
fn every_wrong_variable_has_its_line() {
    for (name, value, expected) in [
        (
            "SIGNALHOUSE_LIMITS__CONECTIONS",
            "5",
            "SIGNALHOUSE_LIMITS__CONECTIONS: limits.conections: unknown key; did you mean \
             connections?",
        ),
        (
            "SIGNALHOUSE_LIMITS__CONNECTIONS",
            "many",
            "SIGNALHOUSE_LIMITS__CONNECTIONS: limits.connections: \"many\" is not a whole number; \
             write a whole number from 1 to 10000000, such as connections = 100000",
        ),
        (
            "SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS",
            "yes",
            "SIGNALHOUSE_SECURITY__ALLOW_ANONYMOUS: security.allow_anonymous: \"yes\" is neither \
             true nor false; write allow_anonymous = true or allow_anonymous = false",
        ),
    ] {
        assert_eq!(load_text("", &[(name, value)]).expect_err(name), expected);
    }
}

#[test]
fn the_environment_goes_over_the_file() {
    let text = "[limits]\nsessions = 5\ntopic_levels = 6\n";
    let settings = load_text(
        text,
        &[
            ("SIGNALHOUSE_LIMITS__SESSIONS", "7"),
            ("SIGNALHOUSE_NETWORK__LISTEN", "127.0.0.1:1, [::1]:2"),
            ("SIGNALHOUSE_SERVICE_HOST", "left to whom it belongs"),
        ],
    )
    .expect("right settings");
    assert_eq!((settings.limits.sessions, settings.limits.topic_levels), (7, 6));
    assert_eq!(settings.network.listen, ["127.0.0.1:1", "[::1]:2"]);
    assert!(settings.open_addresses().is_empty());
}

#[test]
fn the_defaults_are_those_of_the_core() {
    let config = Settings::default().config();
    assert_eq!(config, Config::default());
}

#[test]
fn every_key_has_a_value_within_its_bounds() {
    let defaults = toml::Table::try_from(Settings::default()).expect("plain values");
    let mut keys = 0;
    for (section, content) in &defaults {
        for name in content.as_table().expect("a section").keys() {
            let known = Settings::keys().filter(|key| key.section == section && key.name == name);
            assert_eq!(known.count(), 1, "{section}.{name}");
            keys += 1;
        }
    }
    assert_eq!(keys, Settings::keys().count());
    let text = toml::to_string(&Settings::default()).expect("plain values");
    assert_eq!(load_text(&text, &[]), Ok(Settings::default()));
}

#[test]
fn what_is_open_is_found() {
    for (address, open) in [
        ("127.0.0.1:1883", false),
        ("127.8.8.8:1883", false),
        ("[::1]:1883", false),
        ("[::ffff:127.0.0.1]:1883", false),
        ("0.0.0.0:1883", true),
        ("[::]:1883", true),
        ("192.0.2.1:1883", true),
    ] {
        let mut settings = Settings::default();
        settings.network.listen = vec![address.to_owned()];
        assert_eq!(!settings.open_addresses().is_empty(), open, "{address}");
    }
}
