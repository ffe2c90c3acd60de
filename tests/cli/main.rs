//! The program as a user meets it: every command is run as a process on real files.

mod browser;
#[path = "../support/paths.rs"]
mod paths;
#[path = "../support/pickle.rs"]
mod pickle;
mod support;
mod tables;

mod copies;
mod demo;
mod doctor;
mod dups;
mod eval;
mod faults;
mod finetune;
mod guided;
mod inputs;
mod made_up_weights;
mod onnx;
mod onnx_generator;
mod pages;
mod perturb;
mod pixel_arrays;
mod program;
mod program_network;
mod projected;
mod reference;
mod report;
mod resample;
mod sample;
mod score;
mod select;
mod shards;
mod slurm;
mod spaces;
mod stylegan;
mod terminal;
mod weights;
