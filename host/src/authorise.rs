pub mod brakes;
