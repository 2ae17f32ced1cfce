// The passive AXI checker of the native bench: it looks at the wires of every cycle, keeps its own account of what is
// under way, and trusts neither the machine nor the memory model.

#pragma once

#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <tuple>

#include "Vdut.h"
#include "bench_config.h"

constexpr int PAGE = 4096;
constexpr int IDS = 4;

struct Address {
    uint64_t address = 0, length = 0, size = 0, burst = 0, id = 0, lock = 0, cache = 0, prot = 0, qos = 0;
    auto all() const { return std::tie(address, length, size, burst, id, lock, cache, prot, qos); }
    bool operator==(const Address& o) const { return all() == o.all(); }
};

// One beat of W or R; a field that the channel lacks is 0.
struct Data {
    uint8_t bytes[BENCH_BUS_BYTES] = {};
    uint64_t strobes = 0, last = 0, id = 0, response = 0;
    bool operator==(const Data& o) const {
        return !memcmp(bytes, o.bytes, sizeof bytes) && strobes == o.strobes && last == o.last && id == o.id &&
               response == o.response;
    }
};

struct Answer {
    uint64_t id = 0, response = 0;
    bool operator==(const Answer& o) const { return id == o.id && response == o.response; }
};

inline Address read_address(const Vdut& d) {
    return {d.axi_araddr, d.axi_arlen, d.axi_arsize, d.axi_arburst, d.axi_arid,
            d.axi_arlock, d.axi_arcache, d.axi_arprot, d.axi_arqos};
}

inline Address write_address(const Vdut& d) {
    return {d.axi_awaddr, d.axi_awlen, d.axi_awsize, d.axi_awburst, d.axi_awid,
            d.axi_awlock, d.axi_awcache, d.axi_awprot, d.axi_awqos};
}

inline Data write_data(const Vdut& d) {
    Data w;
    memcpy(w.bytes, &d.axi_wdata, BENCH_BUS_BYTES);
    w.strobes = d.axi_wstrb;
    w.last = d.axi_wlast;
#if BENCH_AXI3
    w.id = d.axi_wid;
#endif
    return w;
}

inline Data read_data(const Vdut& d) {
    Data r;
    memcpy(r.bytes, &d.axi_rdata, BENCH_BUS_BYTES);
    r.last = d.axi_rlast;
    r.id = d.axi_rid;
    r.response = d.axi_rresp;
    return r;
}

class Checker {
  public:
    // The first thing that is wrong; empty if nothing is.
    const char* problem() const { return problem_; }

    // All is forgotten by a reset, on both sides.
    void forget() {
        const bool failed = problem_[0];
        char kept[sizeof problem_];
        memcpy(kept, problem_, sizeof kept);
        *this = Checker();
        if (failed) memcpy(problem_, kept, sizeof kept);
    }

    // A cycle of reset, of which the first must be silent too.
    void in_reset(const Vdut& d) {
        if (d.axi_arvalid || d.axi_awvalid || d.axi_wvalid) fail("a valid signal is high during reset");
    }

    // The settled wires of a cycle; `cycle` is what messages name.
    void sample(const Vdut& d, int64_t cycle) {
        cycle_ = cycle;
        check_reads(d);
        check_writes(d);
        check_registers(d);
    }

    void fail(const char* format, ...) __attribute__((format(printf, 2, 3))) {
        if (problem_[0]) return;
        const int n = snprintf(problem_, sizeof problem_, "cycle %lld: ", (long long)cycle_);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(problem_ + n, sizeof problem_ - n, format, arguments);
        va_end(arguments);
    }

  private:
    // A payload that waits for ready must stay.
    template <class Payload>
    struct Held {
        bool waiting = false;
        Payload payload;
    };

    struct Burst {
        uint64_t beats, id, done;
    };

    template <class Payload>
    void hold(const char* channel, Held<Payload>& held, bool valid, bool ready, const Payload& payload) {
        if (held.waiting && !valid) fail("%sVALID was withdrawn before %sREADY", channel, channel);
        if (held.waiting && valid && !(payload == held.payload))
            fail("the %s payload changed while it waited for %sREADY", channel, channel);
        held.waiting = valid && !ready;
        if (held.waiting) held.payload = payload;
    }

    void check_reads(const Vdut& d) {
        const bool r_valid = d.axi_rvalid, r_ready = d.axi_rready;
        if (r_valid || r_.waiting) {
            const Data r = read_data(d);
            hold("R", r_, r_valid, r_ready, r);
            if (r_valid) {
                // Beats of different IDs may come in any order, those of one in that of their addresses.
                std::deque<Burst>& mine = reads_[r.id];
                if (mine.empty()) return fail("a read beat with RID %d, of which no burst is under way", int(r.id));
                Burst& b = mine.front();
                if (r.last != (b.done + 1 == b.beats))
                    fail("RLAST is %d in beat %d of a burst of %d", int(r.last), int(b.done), int(b.beats));
                if (r_ready && ++b.done == b.beats) mine.pop_front();
            }
        }
        if (d.axi_arvalid || ar_.waiting) {
            const Address a = read_address(d);
            if (d.axi_arvalid && !ar_.waiting) check_address("AR", a);
            hold("AR", ar_, d.axi_arvalid, d.axi_arready, a);
            if (d.axi_arvalid && d.axi_arready) reads_[a.id].push_back({a.length + 1, a.id, 0});
        }
    }

    void check_writes(const Vdut& d) {
        if (d.axi_bvalid || b_.waiting) {
            const Answer answer{d.axi_bid, d.axi_bresp};
            hold("B", b_, d.axi_bvalid, d.axi_bready, answer);
            if (d.axi_bvalid) {
                if (!answers_due_[answer.id]) fail("a write response with BID %d before its data", int(answer.id));
                else if (!addresses_taken_[answer.id])
                    fail("a write response with BID %d before its address", int(answer.id));
                else if (d.axi_bready) --answers_due_[answer.id], --addresses_taken_[answer.id];
            }
        }
        if (d.axi_awvalid || aw_.waiting) {
            const Address a = write_address(d);
            const bool fresh = d.axi_awvalid && !aw_.waiting;
            if (fresh) check_address("AW", a);
            hold("AW", aw_, d.axi_awvalid, d.axi_awready, a);
            if (fresh) writes_.push_back({a.length + 1, a.id, 0});
            if (d.axi_awvalid && d.axi_awready) ++addresses_taken_[a.id];
        }
        if (d.axi_wvalid || w_.waiting) {
            const Data w = write_data(d);
            hold("W", w_, d.axi_wvalid, d.axi_wready, w);
            if (d.axi_wvalid) check_data(w, d.axi_wready);
        }
    }

    // This machine promises more than AXI asks for: no data before their address is presented, and bursts are not
    // interleaved. Whether the address is accepted must not matter: a memory may wait for the data first.
    void check_data(const Data& w, bool taken) {
        if (writes_.empty()) return fail("write data without an address");
        Burst& b = writes_.front();
        if (w.last != (b.done + 1 == b.beats))
            fail("WLAST is %d in beat %d of a burst of %d", int(w.last), int(b.done), int(b.beats));
#if BENCH_AXI3
        if (w.id != b.id) fail("WID %d in a burst with AWID %d", int(w.id), int(b.id));
#endif
        if (taken && ++b.done == b.beats) {
            ++answers_due_[b.id];
            writes_.pop_front();
        }
    }

    void check_address(const char* channel, const Address& a) {
        if (int64_t(a.length) + 1 > BENCH_BURST_BEATS)
            fail("%s burst of %d beats; at most %d", channel, int(a.length) + 1, BENCH_BURST_BEATS);
        if ((1 << a.size) != BENCH_BUS_BYTES)
            fail("%sSIZE is %d, the bus has %d bytes", channel, int(a.size), BENCH_BUS_BYTES);
        if (a.burst != 1) fail("%sBURST is %d, not INCR", channel, int(a.burst));
        if (a.lock) fail("%sLOCK is %d; the machine has no exclusive or locked accesses", channel, int(a.lock));
        if (a.address % BENCH_BUS_BYTES)
            fail("%sADDR 0x%llx is no multiple of a bus word", channel, (unsigned long long)a.address);
        if (a.address % PAGE / BENCH_BUS_BYTES + a.length + 1 > PAGE / BENCH_BUS_BYTES)
            fail("%s burst of %d beats at 0x%llx crosses 4 KB", channel, int(a.length) + 1,
                 (unsigned long long)a.address);
    }

    // The control bus: every answer has its request.
    void check_registers(const Vdut& d) {
        if (d.s_axil_bvalid && (!lite_addresses_ || !lite_words_))
            fail("a register write is answered before its address and data are taken");
        if (d.s_axil_rvalid && !lite_reads_) fail("a register read is answered before its address is taken");
        lite_addresses_ += (d.s_axil_awvalid && d.s_axil_awready) - (d.s_axil_bvalid && d.s_axil_bready);
        lite_words_ += (d.s_axil_wvalid && d.s_axil_wready) - (d.s_axil_bvalid && d.s_axil_bready);
        lite_reads_ += (d.s_axil_arvalid && d.s_axil_arready) - (d.s_axil_rvalid && d.s_axil_rready);
    }

    char problem_[256] = "";
    int64_t cycle_ = 0;
    Held<Address> ar_, aw_;
    Held<Data> r_, w_;
    Held<Answer> b_;
    std::deque<Burst> reads_[IDS], writes_;
    int answers_due_[IDS] = {}, addresses_taken_[IDS] = {};  // write bursts not answered: with all data, with address
    int lite_addresses_ = 0, lite_words_ = 0, lite_reads_ = 0;
};
