//! Hands nginx's version and features on as `cfg`, as `nginx-sys` found them.

use std::env;

/// Versions that the sources tell apart: `NGINX_VERSION` of `nginx.h` as a number, and the cfg.
const VERSIONS: &[(u64, &str)] = &[(1_023_000, "nginx1_23_0")];

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_NGINX_VERSION_NUMBER");
    let built = env::var("DEP_NGINX_VERSION_NUMBER")
        .ok()
        .and_then(|number| number.parse::<u64>().ok());
    for (version, cfg) in VERSIONS {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if built.is_some_and(|built| built >= *version) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    println!("cargo::rerun-if-env-changed=DEP_NGINX_FEATURES");
    println!("cargo::rustc-check-cfg=cfg(ngx_feature, values(any()))");
    for feature in env::var("DEP_NGINX_FEATURES")
        .unwrap_or_default()
        .split(',')
    {
        let feature = feature.trim();
        if !feature.is_empty() {
            println!("cargo::rustc-cfg=ngx_feature=\"{feature}\"");
        }
    }
}
