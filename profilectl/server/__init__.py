"""profilectl serve: the Profile API and the Events API of the platform over a store on this machine.

    credentials   who may ask, who may send: a file for its owner only
    tokens        bearer tokens of clients
    pace          how many requests a second
    snapshot      the store as it was a moment ago, to read from while imports go on
    trouble       what stands in the way: the store is gone, another is in its place
    place         the folder of the server beside the store, where whoever erases asks
    desk          questions that arrive together are answered together
    answer        a profile as the Profile API tells it
    intake        batches that arrive together become one import
    gate          what every request goes through: time, size, log, errors
    application   the requests
    run           the process
"""
