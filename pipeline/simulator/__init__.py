"""The provider, simulated on real sockets: its protocol, a market that moves, and every way it misbehaves."""

from pipeline.simulator.fault import FAULTS, Fault, FaultError, parse_fault
from pipeline.simulator.server import Simulator, SimulatorError, run
from pipeline.simulator.settings import SimulatorSettings

__all__ = ["FAULTS", "Fault", "FaultError", "Simulator", "SimulatorError", "SimulatorSettings", "parse_fault", "run"]
