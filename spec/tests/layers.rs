//! The layers of the workspace: which package may depend on which, and why each dependency is there.
//!
//! The table is that of `spec/architecture.md`; the reasons are those of `spec/decisions.md`. The
//! rules are functions of data, so that the tests at the end can show each of them failing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// What one package may use of ours.
struct Layer {
    package: &'static str,
    /// In the program.
    may_use: &'static [&'static str],
    /// In tests and benches, besides.
    tests_may_use: &'static [&'static str],
}

/// The packages there may be. Some are still to come.
const LAYERS: [Layer; 6] = [
    Layer { package: "signalhouse-core", may_use: &[], tests_may_use: &[] },
    Layer {
        package: "signalhouse",
        may_use: &["signalhouse-core"],
        tests_may_use: &["signalhouse-spec"],
    },
    Layer {
        package: "signalhouse-sim",
        may_use: &["signalhouse-core", "signalhouse"],
        tests_may_use: &[],
    },
    Layer { package: "signalhouse-spec", may_use: &[], tests_may_use: &[] },
    Layer {
        package: "signalhouse-fuzz",
        may_use: &["signalhouse-core", "signalhouse-sim", "signalhouse"],
        tests_may_use: &[],
    },
    Layer {
        package: "signalhouse-benches",
        may_use: &["signalhouse-core", "signalhouse"],
        tests_may_use: &[],
    },
];

/// All that the core is made of beside itself. None of it can do input or output.
const CORE_USES: [&str; 5] = ["bytes", "hashbrown", "siphasher", "slab", "thiserror"];

#[test]
fn layers_hold() {
    let packages = packages(&metadata());
    assert!(packages.len() >= 3, "cargo metadata names only {} packages", packages.len());
    let faults = layer_faults(&packages);
    assert!(
        faults.is_empty(),
        "layers are broken (spec/architecture.md):\n  {}",
        faults.join("\n  ")
    );
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("decisions.md");
    let decisions = std::fs::read_to_string(path).expect("spec/decisions.md can be read");
    let faults = reason_faults(&packages(&metadata()), &decisions);
    assert!(faults.is_empty(), "reasons are missing:\n  {}", faults.join("\n  "));
}

/// A package of the workspace.
#[derive(Clone, Debug, Default)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

/// A line of a package's manifest.
#[derive(Clone, Debug, Default)]
struct Dependency {
    name: String,
    /// Whether tests and benches alone use it.
    for_tests: bool,
    default_features: bool,
}

/// What cargo says of the workspace, without asking anything but the manifests.
fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn packages(metadata: &Value) -> Vec<Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let dependency = |value: &Value| Dependency {
        name: text(&value["name"]),
        for_tests: value["kind"] == "dev",
        default_features: value["uses_default_features"] == true,
    };
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            dependencies: list(&package["dependencies"]).iter().map(dependency).collect(),
        })
        .collect()
}

fn layer_faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let Some(layer) = LAYERS.iter().find(|layer| layer.package == package.name) else {
            faults.push(format!("{} is not in the table of layers", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let ours = LAYERS.iter().any(|layer| layer.package == name);
            let allowed = layer.may_use.contains(&name)
                || dependency.for_tests && layer.tests_may_use.contains(&name);
            if ours && !allowed {
                faults.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    if let Some(core) = packages.iter().find(|package| package.name == "signalhouse-core") {
        faults.extend(core_faults(core));
    }
    faults
}

/// The core's dependencies are exactly the listed ones, none with the features that use std.
fn core_faults(core: &Package) -> Vec<String> {
    let mut faults = Vec::new();
    let used = core.dependencies.iter().filter(|dependency| !dependency.for_tests);
    for dependency in used.clone() {
        let name = dependency.name.as_str();
        if !CORE_USES.contains(&name) {
            faults.push(format!("the core must not use {name}: only {}", CORE_USES.join(", ")));
        }
        if dependency.default_features {
            faults.push(format!("the core must take {name} with `default-features = false`"));
        }
    }
    let names: BTreeSet<&str> = used.map(|dependency| dependency.name.as_str()).collect();
    let unused = CORE_USES.iter().filter(|name| !names.contains(*name));
    faults.extend(unused.map(|name| format!("the core no longer uses {name}: shorten the list")));
    faults
}

/// A reason is a row `| \`name\` | reason |` in the document.
fn reason_faults(packages: &[Package], decisions: &str) -> Vec<String> {
    let ours = |name: &str| LAYERS.iter().any(|layer| layer.package == name);
    let reasoned = |name: &str| {
        decisions.lines().any(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            matches!(cells.as_slice(), ["", first, .., reason, ""]
                if *first == format!("`{name}`") && reason.len() > 10)
        })
    };
    packages
        .iter()
        .flat_map(|package| {
            package.dependencies.iter().map(move |dependency| (package, dependency))
        })
        .filter(|(_, dependency)| !ours(&dependency.name) && !reasoned(&dependency.name))
        .map(|(package, dependency)| {
            format!("{} uses {}: give it a row in spec/decisions.md", package.name, dependency.name)
        })
        .collect()
}

fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
    let dependency = |(name, for_tests): &(&str, bool)| Dependency {
        name: (*name).to_owned(),
        for_tests: *for_tests,
        default_features: false,
    };
    Package { name: name.to_owned(), dependencies: dependencies.iter().map(dependency).collect() }
}

fn good_core() -> Package {
    package("signalhouse-core", &CORE_USES.map(|name| (name, false)))
}

#[test]
fn good_layers_pass() {
    let runtime = package(
        "signalhouse",
        &[("signalhouse-core", false), ("signalhouse-spec", true), ("tokio", false)],
    );
    assert_eq!(layer_faults(&[good_core(), runtime]), [] as [String; 0]);
}

#[test]
fn broken_layers_are_found() {
    let broken = [
        (package("signalhouse-extra", &[]), "not in the table"),
        (
            package("signalhouse", &[("signalhouse-spec", false)]),
            "must not depend on signalhouse-spec",
        ),
        (
            package("signalhouse", &[("signalhouse-sim", true)]),
            "must not depend on signalhouse-sim",
        ),
        (package("signalhouse-spec", &[("signalhouse-core", true)]), "must not depend on"),
    ];
    for (package, expected) in broken {
        let faults = layer_faults(std::slice::from_ref(&package));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{package:?}: {faults:?}");
    }
}

#[test]
fn impure_core_is_found() {
    let mut core = good_core();
    core.dependencies.push(Dependency { name: "tokio".to_owned(), ..Dependency::default() });
    assert!(layer_faults(&[core]).iter().any(|fault| fault.contains("must not use tokio")));

    let mut core = good_core();
    core.dependencies.retain(|dependency| dependency.name != "slab");
    assert!(layer_faults(&[core]).iter().any(|fault| fault.contains("no longer uses slab")));

    let mut core = good_core();
    core.dependencies.iter_mut().for_each(|dependency| dependency.default_features = true);
    assert_eq!(layer_faults(&[core]).len(), CORE_USES.len());

    let mut core = good_core();
    core.dependencies.push(Dependency {
        name: "signalhouse".to_owned(),
        for_tests: true,
        ..Dependency::default()
    });
    assert!(
        layer_faults(&[core]).iter().any(|fault| fault.contains("must not depend on signalhouse"))
    );
}

#[test]
fn missing_reasons_are_found() {
    let packages = [package("signalhouse", &[("tokio", false), ("signalhouse-core", false)])];
    assert_eq!(reason_faults(&packages, "| `tokio` | runtime | sockets and timers |").len(), 0);
    assert_eq!(reason_faults(&packages, "| `tokio` | |").len(), 1);
    assert_eq!(reason_faults(&packages, "tokio is nice").len(), 1);
}
