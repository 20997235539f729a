//! Checks the arrows between the crates against `ARCHITECTURE.md`.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use proptest::arbitrary::any;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// The maximum length of a function's `main.rs`, which only wires it up.
const MAIN_LINES_MAX: usize = 40;

/// The workspace as this machine builds it. Dependencies of other platforms may not even be downloaded.
fn workspace() -> Metadata {
    let rustc = Command::new("rustc").arg("-vV").output().expect("rustc");
    let about = String::from_utf8(rustc.stdout).expect("text");
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("the host");
    MetadataCommand::new()
        .manifest_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .other_options(["--locked", "--filter-platform", host].map(str::to_owned))
        .exec()
        .expect("cargo metadata")
}

fn package<'a>(workspace: &'a Metadata, name: &str) -> &'a Package {
    let mut packages = workspace.workspace_packages().into_iter();
    packages
        .find(|package| package.name == name)
        .expect("a crate of the workspace")
}

/// The crates of `functions/`.
fn functions(workspace: &Metadata) -> Vec<&Package> {
    let functions: Vec<&Package> = workspace
        .workspace_packages()
        .into_iter()
        .filter(|package| package.manifest_path.as_str().contains("/functions/"))
        .collect();
    assert_eq!(functions.len(), 6, "the functions of the template");
    functions
}

/// The names of a crate's direct dependencies, without those of tests.
fn dependencies(package: &Package) -> BTreeSet<String> {
    package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.clone())
        .collect()
}

/// The names of all dependencies of a crate, without those of tests.
fn all_dependencies(workspace: &Metadata, root: &PackageId) -> BTreeSet<String> {
    let nodes = &workspace
        .resolve
        .as_ref()
        .expect("a resolved workspace")
        .nodes;
    let mut reached: BTreeSet<&PackageId> = BTreeSet::from([root]);
    let mut to_visit = vec![root];
    while let Some(id) = to_visit.pop() {
        let node = nodes
            .iter()
            .find(|node| node.id == *id)
            .expect("a resolved crate");
        for dependency in &node.deps {
            let needed = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development);
            if needed && reached.insert(&dependency.pkg) {
                to_visit.push(&dependency.pkg);
            }
        }
    }
    reached.remove(root);
    reached
        .into_iter()
        .map(|id| workspace[id].name.to_string())
        .collect()
}

#[test]
fn functions_depend_on_no_function_and_on_all_shared_crates() {
    let workspace = workspace();
    let functions = functions(&workspace);
    for function in &functions {
        let dependencies = dependencies(function);
        for other in &functions {
            assert!(
                !dependencies.contains(other.name.as_str()),
                "{} -> {}",
                function.name,
                other.name
            );
        }
        for shared in ["tandem-replication", "tandem-aws", "tandem-lambda"] {
            assert!(
                dependencies.contains(shared),
                "{} does not use {shared}",
                function.name
            );
        }
    }
}

#[test]
fn the_domain_depends_on_no_runtime_and_no_aws() {
    let workspace = workspace();
    let domain = package(&workspace, "tandem-replication");
    for name in all_dependencies(&workspace, &domain.id) {
        let foreign = name.starts_with("tokio")
            || name.starts_with("aws")
            || name.starts_with("lambda")
            || name.starts_with("hyper")
            || name.starts_with("tandem");
        assert!(!foreign, "tandem-replication -> {name}");
    }
}

#[test]
fn the_adapters_do_not_depend_on_lambda_and_only_functions_use_the_shell() {
    let workspace = workspace();
    let adapters = all_dependencies(&workspace, &package(&workspace, "tandem-aws").id);
    for name in ["tandem-lambda", "lambda_runtime", "aws_lambda_events"] {
        assert!(!adapters.contains(name), "tandem-aws -> {name}");
    }
    let command = all_dependencies(&workspace, &package(&workspace, "tandem").id);
    for name in ["tandem-lambda", "tandem-aws"] {
        assert!(!command.contains(name), "tandem -> {name}");
    }
    let raw_head = all_dependencies(&workspace, &package(&workspace, "tandem-raw-head").id);
    for name in ["tandem-lambda", "tandem-aws", "lambda_runtime"] {
        assert!(!raw_head.contains(name), "tandem-raw-head -> {name}");
    }
}

/// The crates of this repository that a crate uses, without those that only tests use.
fn ours(workspace: &Metadata, name: &str) -> BTreeSet<String> {
    let ours = dependencies(package(workspace, name)).into_iter();
    ours.filter(|name| name.starts_with("tandem")).collect()
}

#[test]
fn the_demo_uses_no_crate_of_ours_and_the_acceptance_run_only_the_demo_and_the_prices() {
    let workspace = workspace();
    assert_eq!(ours(&workspace, "tandem-demo"), BTreeSet::new());
    let used = ["tandem", "tandem-demo"].map(str::to_owned);
    assert_eq!(ours(&workspace, "tandem-acceptance"), BTreeSet::from(used));
    for package in workspace.workspace_packages() {
        let used = ours(&workspace, package.name.as_str());
        assert!(
            !used.contains("tandem-acceptance"),
            "{} -> tandem-acceptance",
            package.name
        );
    }
}

/// The table of `ARCHITECTURE.md`, for the crates whose dependencies it limits.
const ARROWS: [(&str, &[&str]); 9] = [
    ("tandem-replication", &[]),
    ("tandem-raw-head", &["tandem-replication"]),
    ("tandem-aws", &["tandem-replication", "tandem-raw-head"]),
    ("tandem-lambda", &["tandem-replication", "tandem-aws"]),
    ("tandem", &["tandem-replication", "tandem-raw-head"]),
    ("tandem-demo", &[]),
    ("tandem-acceptance", &["tandem-demo", "tandem"]),
    ("tandem-memory-s3", &[]),
    ("tandem-hostile", &[]),
];

#[test]
fn every_crate_depends_only_on_what_the_architecture_allows() {
    let workspace = workspace();
    let of_functions: &[&str] = &[
        "tandem-replication",
        "tandem-raw-head",
        "tandem-aws",
        "tandem-lambda",
    ];
    let functions = functions(&workspace);
    let functions = functions
        .iter()
        .map(|function| (function.name.as_str(), of_functions));
    for (name, allowed) in ARROWS.into_iter().chain(functions) {
        for used in ours(&workspace, name) {
            assert!(allowed.contains(&used.as_str()), "{name} -> {used}");
        }
    }
}

#[test]
fn every_shared_crate_is_used() {
    let workspace = workspace();
    let used: BTreeSet<String> = functions(&workspace)
        .iter()
        .flat_map(|function| all_dependencies(&workspace, &function.id))
        .collect();
    for package in workspace.workspace_packages() {
        if package.manifest_path.as_str().contains("/shared/") {
            assert!(
                used.contains(package.name.as_str()),
                "{} is used by no function",
                package.name
            );
        }
    }
}

#[test]
fn a_functions_main_only_wires() {
    for function in functions(&workspace()) {
        let main = function.manifest_path.with_file_name("src").join("main.rs");
        let text = std::fs::read_to_string(&main).expect("a main.rs");
        let lines = text.lines().count();
        assert!(lines < MAIN_LINES_MAX, "{main} has {lines} lines");
    }
}

#[test]
fn every_module_has_a_module_comment() {
    let workspace = workspace();
    for package in workspace.workspace_packages() {
        let root = package
            .manifest_path
            .parent()
            .expect("a folder")
            .join("src");
        let mut folders = vec![root.into_std_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    let text = std::fs::read_to_string(&path).expect("a module");
                    assert!(
                        text.starts_with("//!"),
                        "{} opens without //!",
                        path.display()
                    );
                }
            }
        }
    }
}

/// Without a fixed seed, property tests would fail in some runs only. `.cargo/config.toml` sets the seed, for plain
/// `cargo test` too; `make fuzz` sets others.
#[test]
fn property_tests_have_a_fixed_seed() {
    assert_ne!(
        Config::default().rng_seed,
        RngSeed::Random,
        "PROPTEST_RNG_SEED is not set"
    );
    let drawn = || {
        let mut runner = TestRunner::new(Config::default());
        any::<u64>()
            .new_tree(&mut runner)
            .expect("a number")
            .current()
    };
    assert_eq!(drawn(), drawn());
}
