// The memory of the native bench: the port of docs/timing.md, section 3, or one that does anything that AXI allows.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>

#include "Vdut.h"
#include "bench_config.h"
#include "harness_checker.h"

enum Channel { READ = 0, WRITE = 1, RESPONSE = 2 };
enum Response { OKAY = 0, SLVERR = 2, DECERR = 3 };

// Mirrored in bench.py, in this order.
struct Parameters {
    int64_t read_latency, write_latency, read_outstanding, write_outstanding;
    int64_t stalls, stall_seed, stall_rate;
    int64_t error_read_beat, error_write_burst, error_response;
    int64_t disorder;  // 0: docs/timing.md; else the seed of an order of answers, and of refusals
    int64_t write_order;
};

// Which of a write burst's channels the memory takes first.
enum WriteOrder {
    ADDRESS_FIRST = 0,  // docs/timing.md
    ADDRESS_WAITS = 1,  // the address when its first data are presented, the data after it
    DATA_FIRST = 2,     // all data, then the address
};

class Memory {
  public:
    Memory(uint8_t* bytes, uint64_t size, const Parameters& p) : bytes_(bytes), size_(size), p_(p) {}

    // Another memory, or another behaviour of it; only while nothing is in flight.
    void become(uint8_t* bytes, uint64_t size, const Parameters& p) {
        bytes_ = bytes;
        size_ = size;
        p_ = p;
    }

    // What is in flight is lost.
    void forget() {
        reads_.clear();
        writes_.clear();
        early_.clear();
        read_offered_ = w_presented_ = response_due_ = -1;
        last_response_ = INT64_MIN / 2;
    }

    // Beats and bursts are counted from 0 again.
    void begin() { read_beats_ = write_beats_ = responses_ = 0; }

    bool idle() const { return reads_.empty() && writes_.empty() && early_.empty(); }

    // What the memory drives in cycle `now`: functions of what earlier cycles left.
    void drive(Vdut& d, int64_t now) {
        d.axi_arready = int64_t(reads_.size()) < p_.read_outstanding && !refuses(now, 0);
        if (read_offered_ < 0 && choose(now)) read_offered_ = now + gap(READ, read_beats_);
        d.axi_rvalid = read_offered_ >= 0 && now >= read_offered_;
        if (d.axi_rvalid) drive_beat(d);

        d.axi_awready =
            int64_t(writes_.size()) < p_.write_outstanding && !refuses(now, 1) && takes_address();
        // Ready once the beat has been presented for as many cycles as its gap says; at once without one.
        const int64_t w_gap = gap(WRITE, write_beats_);
        d.axi_wready = takes_data() && (w_gap == 0 || (w_presented_ >= 0 && now - w_presented_ >= w_gap)) &&
                       !refuses(now, 2);

        if (response_due_ < 0 && !writes_.empty() && writes_.front().done > int64_t(writes_.front().a.length)) {
            const int64_t earliest = writes_.front().data_taken + p_.write_latency;
            response_due_ = std::max(earliest, last_response_ + 1) + gap(RESPONSE, responses_);
        }
        d.axi_bvalid = response_due_ >= 0 && now >= response_due_;
        if (d.axi_bvalid) {
            const Burst& b = writes_.front();
            d.axi_bid = b.a.id;
            d.axi_bresp = responses_ == p_.error_write_burst ? p_.error_response : b.error ? DECERR : OKAY;
        }
    }

    // The handshakes of cycle `now`. Data before the address: a burst accepted in this cycle has no beat in it. Data
    // that may not be taken yet count as presented when they may.
    void sample(const Vdut& d, int64_t now) {
        if (d.axi_rvalid && d.axi_rready) {
            Burst& b = reads_[current_];
            ++read_beats_;
            read_offered_ = -1;
            if (b.done++ == int64_t(b.a.length)) reads_.erase(reads_.begin() + current_);
        }
        if (d.axi_arvalid && d.axi_arready) reads_.push_back({read_address(d), now});

        if (d.axi_wvalid && w_presented_ < 0 && takes_data()) w_presented_ = now;
        w_waits_ = d.axi_wvalid && !d.axi_wready;
        if (d.axi_wvalid && d.axi_wready) take(write_data(d), now);
        if (d.axi_bvalid && d.axi_bready) {
            last_response_ = now;
            ++responses_;
            response_due_ = -1;
            writes_.pop_front();
        }
        if (d.axi_awvalid && d.axi_awready) {
            writes_.push_back({write_address(d), now});
            for (const Data& w : early_) store(w, now);
            early_.clear();
        }
    }

  private:
    struct Burst {
        Address a;
        int64_t accepted = 0;
        int64_t done = 0;
        int64_t data_taken = 0;  // write: the cycle of its last beat
        bool error = false;
    };

    // hw.timing.stall_gap's hash.
    static uint32_t hash(int64_t index, int64_t seed, uint32_t channel) {
        uint32_t x = uint32_t(index) * 0x9E3779B1u + uint32_t(seed) * 0x85EBCA77u + channel * 0xC2B2AE3Du;
        x = (x ^ (x >> 16)) * 0x7FEB352Du;
        x = (x ^ (x >> 15)) * 0x846CA68Bu;
        return x ^ (x >> 16);
    }

    // The stall profile: hw.timing.stall_gap.
    int64_t gap(Channel channel, int64_t index) const {
        if (!p_.stalls) return 0;
        const uint32_t x = hash(index, p_.stall_seed, channel);
        return int64_t(x >> 8) < p_.stall_rate ? 1 + (x & 7) : 0;
    }

    bool refuses(int64_t now, uint32_t channel) const {
        return p_.disorder && hash(now, p_.disorder, 8 + channel) % 3 == 0;
    }

    // Choose the burst of the next read beat: the oldest, once it is due; or, in disorder, that of any ID.
    bool choose(int64_t now) {
        size_t candidates[IDS], count = 0;
        bool seen[IDS] = {};
        for (size_t n = 0; n < reads_.size() && (p_.disorder || n == 0); ++n) {
            const Burst& b = reads_[n];
            const bool due = b.done > 0 || now >= b.accepted + p_.read_latency;
            if (due && !seen[b.a.id]) candidates[count++] = n;
            seen[b.a.id] = true;
        }
        if (count == 0) return false;
        if (p_.disorder) {
            // One that waits alone is held back for a while, so that another may overtake it.
            if (count == 1 && hash(now, p_.disorder, 11) % 4) return false;
            // From seed to seed the choice changes with every beat, or every few.
            const uint32_t x = hash(read_beats_ >> (p_.disorder & 3), p_.disorder, 12);
            current_ = candidates[x % count];
        } else {
            current_ = 0;
        }
        return true;
    }

    void drive_beat(Vdut& d) {
        const Burst& b = reads_[current_];
        const uint64_t at = (b.a.address & ~uint64_t(BENCH_BUS_BYTES - 1)) + b.done * BENCH_BUS_BYTES;
        uint8_t data[sizeof d.axi_rdata] = {};
        const bool inside = at < size_;
        if (inside) memcpy(data, bytes_ + at, std::min<uint64_t>(BENCH_BUS_BYTES, size_ - at));
        memcpy(&d.axi_rdata, data, sizeof data);
        d.axi_rid = b.a.id;
        d.axi_rlast = b.done == int64_t(b.a.length);
        d.axi_rresp = read_beats_ == p_.error_read_beat ? p_.error_response : inside ? OKAY : DECERR;
    }

    // Whether an accepted write burst has data to come.
    bool owed() const { return !writes_.empty() && writes_.back().done <= int64_t(writes_.back().a.length); }

    bool takes_address() const {
        if (p_.write_order == ADDRESS_WAITS) return w_waits_ && !owed();
        return p_.write_order == ADDRESS_FIRST || (!early_.empty() && early_.back().last);
    }

    bool takes_data() const {
        return p_.write_order == DATA_FIRST ? early_.empty() || !early_.back().last : owed();
    }

    void take(const Data& w, int64_t now) {
        ++write_beats_;
        w_presented_ = -1;
        if (p_.write_order == DATA_FIRST)
            early_.push_back(w);
        else
            store(w, now);
    }

    void store(const Data& w, int64_t now) {
        for (Burst& b : writes_) {
            if (b.done > int64_t(b.a.length)) continue;
            const uint64_t at = (b.a.address & ~uint64_t(BENCH_BUS_BYTES - 1)) + b.done * BENCH_BUS_BYTES;
            for (int i = 0; i < BENCH_BUS_BYTES; ++i) {
                if (!(w.strobes >> i & 1)) continue;
                if (at + i < size_)
                    bytes_[at + i] = w.bytes[i];
                else
                    b.error = true;
            }
            if (b.done++ == int64_t(b.a.length)) b.data_taken = now;
            return;
        }
    }

    uint8_t* bytes_;
    uint64_t size_;
    Parameters p_;
    // Accepted read bursts; accepted write bursts until their response.
    std::deque<Burst> reads_, writes_;
    std::deque<Data> early_;  // data taken before their address
    bool w_waits_ = false;    // data were presented and not taken in the cycle before
    size_t current_ = 0;  // the read burst of the beat that is offered
    int64_t read_beats_ = 0, write_beats_ = 0, responses_ = 0;
    int64_t read_offered_ = -1, response_due_ = -1, w_presented_ = -1;
    int64_t last_response_ = INT64_MIN / 2;
};
