"""All benchmarks, one after another: ``python -m benchmarks``. An hour and a half; leave the machine alone meanwhile."""

from benchmarks import crypto_primitives, dealings, network, partials, releases, serving, simulated

if __name__ == "__main__":
    crypto_primitives.main()
    dealings.main([])
    network.main(["genesis"])
    network.main(["rotation"])
    partials.main([])
    simulated.main([])
    releases.main([])
    serving.main([])
