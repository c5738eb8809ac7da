#![no_std]
#![no_main]

bench_guests::program!(workloads::touch);
