//! What takes long, the whole machine, or a quiet one: `scripts/proof` runs it, the gate doesn't.

mod burst;
mod by_hand;
mod compose;
mod crowd;
mod disk_full;
mod engine;
mod floor;
mod http3;
mod killed;
mod metrics;
mod packages;
mod page;
mod pushes;
mod readme;
mod rollback;
mod scale;
mod soak;
mod sockets;
mod stall;
mod tenants;
mod times;
mod waits;
