#![no_std]
#![no_main]

bench_guests::program!(|n| workloads::hostcall(n, bench_guests::host));
