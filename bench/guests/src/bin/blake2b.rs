#![no_std]
#![no_main]

bench_guests::program!(workloads::blake2b);
