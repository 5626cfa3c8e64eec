"""The provider, simulated on real sockets: its protocol, a market that moves, and every way it misbehaves.

with Simulator(SimulatorSettings(symbols=("SPX",), rate=500)) as sim:
    sim.inject("429:1x2")          # the next two requests are refused
    httpx.get(f"{sim.url}/v3/snapshot/options/I:SPX?apiKey=any")
"""

from pipeline.simulator.fault import FAULTS, Fault, FaultError, parse_fault
from pipeline.simulator.server import Simulator, SimulatorError, run
from pipeline.simulator.settings import SimulatorSettings

__all__ = ["FAULTS", "Fault", "FaultError", "Simulator", "SimulatorError", "SimulatorSettings", "parse_fault", "run"]
