//! Compiles the guest, which is `guest/*.c` and the C sources of QuickJS-NG, to WebAssembly.
//!
//! The sources are those of the package `rquickjs-sys`, which the lock file pins by its digest. It is a dependency for a
//! target that is never built, so cargo fetches it, and nothing of it runs here.
//!
//! What comes out depends on the sources, the compiler and its C library, and on neither folders nor time: assertions
//! name their files without them, and nothing for debuggers is kept.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
};

/// The package that carries the engine's sources.
const SOURCES_PACKAGE: &str = "rquickjs-sys";

/// What Debian and its relatives call what is needed.
const PACKAGES: &str = "clang lld wasi-libc libclang-rt-dev-wasm32";

/// Names a compiler other than `clang`.
const COMPILER_VARIABLE: &str = "COCO_WASM_CC";

/// Sources of the engine that are compiled as they are.
const ENGINE_SOURCES: [&str; 3] = ["dtoa", "libregexp", "libunicode"];
/// Sources of ours. `engine` contains the rest of the engine.
const GUEST_SOURCES: [&str; 4] = ["engine", "guest", "system", "value"];
const GUEST_FILES: [&str; 6] = ["engine.c", "guest.c", "guest.h", "system.c", "texts.c", "value.c"];

const COMPILE: [&str; 13] = [
    "--target=wasm32-wasi",
    "-std=gnu11",
    "-O2",
    "-g0",
    // The host reads the stack pointer, to tell whether a trap came of the stack.
    "-mmutable-globals",
    // Instructions that every compiler of today would choose if it were let; fewer are faster.
    "-msign-ext",
    "-mnontrapping-fptoint",
    "-mbulk-memory",
    "-w",
    "-D_GNU_SOURCE",
    "-DEMSCRIPTEN=1",
    "-DFE_DOWNWARD=0",
    "-DFE_UPWARD=0",
];

const LINK: [&str; 7] = [
    "--target=wasm32-wasi",
    "-mexec-model=reactor",
    "-Wl,--strip-all",
    // Below the stack is nothing, so that whoever overruns it leaves the memory, which is a trap.
    "-Wl,--stack-first",
    // As `STACK_BYTES` in `src/limits.rs`, with what lies between the engine's own limit and the end.
    "-Wl,-z,stack-size=1310720",
    "-Wl,--export=__stack_pointer",
    "-lm",
];

#[expect(clippy::print_stderr, reason = "cargo shows it when a build fails")]
fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for file in GUEST_FILES {
        println!("cargo::rerun-if-changed=guest/{file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMPILER_VARIABLE}");

    let compiler = env::var(COMPILER_VARIABLE).unwrap_or_else(|_| "clang".to_owned());
    let engine = engine_folder(&manifest)?.join("quickjs");
    println!("cargo::rerun-if-changed={}", engine.join("quickjs.c").display());
    println!("cargo::rustc-env=QUICKJS_VERSION={}", engine_version(&engine.join("quickjs.h"))?);
    let guest = manifest.join("guest");

    let mut jobs = Vec::new();
    let mut objects = Vec::new();
    let all = ENGINE_SOURCES.map(|name| (name, &engine)).into_iter();
    for (name, folder) in all.chain(GUEST_SOURCES.map(|name| (name, &guest))) {
        let object = format!("{name}.o");
        let mut command = Command::new(&compiler);
        // Assertions name the file that they are in.
        command.arg(format!("-ffile-prefix-map={}=engine", engine.display()));
        command.args(COMPILE).arg("-I").arg(&engine).arg("-I").arg(&guest);
        command.current_dir(folder).args(["-c", &format!("{name}.c"), "-o"]).arg(out.join(&object));
        jobs.push(command);
        objects.push(object);
    }
    run_all(&mut jobs, &compiler)?;

    let mut link = Command::new(&compiler);
    link.current_dir(&out).args(&objects).args(LINK).args(["-o", "guest.wasm"]);
    run_all(&mut [link], &compiler)
}

/// The version that the engine's header says.
fn engine_version(header: &Path) -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(header)?;
    let part = |name: &str| {
        let define = format!("#define QJS_VERSION_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&define));
        value.map(|value| value.trim().trim_matches('"')).ok_or_else(|| format!("no {define}"))
    };
    Ok(format!("{}.{}.{}{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?, part("SUFFIX")?))
}

/// Runs the commands beside one another and waits for all.
fn run_all(commands: &mut [Command], compiler: &str) -> Result<(), Box<dyn Error>> {
    let mut running = Vec::new();
    for command in commands {
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = started.spawn().map_err(|error| needed(compiler, &error.to_string()))?;
        running.push(child);
    }
    let mut failed = None;
    for child in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            failed = Some(needed(compiler, &shown(&output)));
        }
    }
    failed.map_or(Ok(()), Err)
}

fn shown(output: &Output) -> String {
    format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))
}

/// What to say when the guest could not be built.
fn needed(compiler: &str, why: &str) -> Box<dyn Error> {
    format!(
        "the script engine could not be compiled to WebAssembly with {compiler}: it needs the packages {PACKAGES} \
         (Debian's names), and {COMPILER_VARIABLE} names another compiler\n{why}"
    )
    .into()
}

/// Where cargo has put the package that carries the engine. It is fetched if it is not there.
fn engine_folder(manifest: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var("CARGO")?;
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        // Fewer packages to fetch than for all platforms. The package in question is there on this one only.
        .args(["--filter-platform", "wasm32-unknown-unknown", "--manifest-path"])
        .arg(manifest.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", shown(&output)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let found = packages.iter().find(|package| package["name"] == SOURCES_PACKAGE);
    let path = found.and_then(|package| package["manifest_path"].as_str());
    let path = path.ok_or_else(|| format!("cargo metadata does not name {SOURCES_PACKAGE}"))?;
    Ok(Path::new(path).parent().ok_or("a manifest lies in a folder")?.to_path_buf())
}
