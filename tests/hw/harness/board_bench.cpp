// A board around the verilated harness: a host at the serial line, and an SDRAM chip that checks how it is used.
//
// Registers of the I/O cells are here, not in the design (hw/harness/sdram.py): outputs are latched at the rising edge,
// the chip sees them a part of a period later, and what it drives then is latched at the next rising edge.

#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <vector>

#include "Vdut.h"
#include "verilated.h"

namespace {

struct Pins {
    bool cke = false, ras = false, cas = false, we = false;  // as levels
    unsigned bank = 0, address = 0, mask = 0, data = 0;
    bool drives = false;
};

// Times in ns, from the data sheets of MT48LC16M16A2-75, IS42S16160G-7 and AS4C32M16SB-7: the longest of each.
constexpr double kStart = 200e3, kRefreshInterval = 7812.5, kRp = 20, kRcd = 20, kRas = 44, kRc = 66, kRfc = 66, kRrd = 15,
                 kWr = 15;
constexpr int kBanks = 4, kColumnBits = 9, kRowBits = 13;

class Chip {
  public:
    explicit Chip(double mhz) : period_(1000.0 / mhz), cells_(size_t(1) << (kColumnBits + kRowBits + 2)) {}

    // One rising edge of the chip's clock.
    void edge(const Pins& p) {
        now_ += 1;
        if (!p.cke) return;
        command(p);
        transfer(p);
        if (initialised_ && since(refreshed_) > kRefreshInterval) fail("no refresh for too long");
    }

    bool driving() const { return driving_; }
    unsigned driven() const { return driven_; }
    std::string error;
    long reads = 0, writes = 0, activations = 0, refreshes = 0;

  private:
    struct Bank {
        bool open = false;
        unsigned row = 0;
        long activated = -1000000, precharged = -1000000, written = -1000000;
    };
    struct Transfer {
        bool write;
        long begin;  // edge of the first datum
        unsigned bank, row, column;
    };

    double since(long edge) const { return double(now_ - edge) * period_; }

    void fail(const std::string& reason) {
        if (error.empty()) error = reason + " at clock " + std::to_string(now_);
    }

    void need(bool right, const char* reason) {
        if (!right) fail(reason);
    }

    void close(Bank& b) {
        if (!b.open) return;
        need(since(b.activated) >= kRas, "tRAS");
        need(since(b.written) >= kWr, "tWR");
        for (const Transfer& t : transfers_)
            need(t.write ? now_ >= t.begin + length_ : now_ >= t.begin + length_ - latency_, "a burst is cut short");
        b.open = false;
        b.precharged = now_;
    }

    void command(const Pins& p) {
        Bank& b = banks_[p.bank];
        const int code = p.ras << 2 | p.cas << 1 | p.we;
        if (code == 7) return;
        need(since(refreshed_) >= kRfc || refreshes == 0, "tRFC");
        if (moded_ >= 0) need(now_ - moded_ >= 2, "tMRD");
        switch (code) {
            case 0b011:
                need(initialised_, "ACTIVATE before the mode is set");
                need(!b.open, "ACTIVATE of an open bank");
                need(since(b.precharged) >= kRp, "tRP");
                need(since(b.activated) >= kRc, "tRC");
                need(since(activated_) >= kRrd, "tRRD");
                b = {true, p.address, now_, b.precharged, b.written};
                activated_ = now_;
                ++activations;
                break;
            case 0b101:
            case 0b100: {
                const bool write = code == 0b100;
                need(b.open, "access to a closed bank");
                need(since(b.activated) >= kRcd, "tRCD");
                need(!(p.address >> kColumnBits), "column address with more bits than columns");
                const long begin = write ? now_ : now_ + latency_;
                if (!transfers_.empty()) need(begin >= transfers_.back().begin + length_, "bursts overlap");
                transfers_.push_back({write, begin, p.bank, b.row, p.address & ((1u << kColumnBits) - 1)});
                ++(write ? writes : reads);
                break;
            }
            case 0b010:
                for (int k = 0; k < kBanks; ++k)
                    if ((p.address >> 10 & 1) || k == int(p.bank)) close(banks_[k]);
                if (!started_) {
                    need(double(now_) * period_ >= kStart, "commands too early");
                    started_ = true;
                    for (Bank& each : banks_) each.precharged = now_;
                }
                break;
            case 0b001:
                need(started_, "REFRESH before PRECHARGE");
                for (const Bank& each : banks_) {
                    need(!each.open, "REFRESH with an open bank");
                    need(since(each.precharged) >= kRp, "tRP");
                }
                refreshed_ = now_;
                ++refreshes;
                break;
            case 0b000:
                need(refreshes >= 2, "the mode is set before two refreshes");
                length_ = 1 << (p.address & 7);
                latency_ = int(p.address >> 4 & 7);
                need((p.address & ~0x77u) == 0 && (p.address & 7) <= 3 && (latency_ == 2 || latency_ == 3), "mode");
                initialised_ = true;
                moded_ = now_;
                break;
            default:
                fail("an unknown command");
        }
    }

    // The datum of this edge into the cells, and what the chip drives from this edge to the next.
    void transfer(const Pins& p) {
        driving_ = false;
        for (Transfer& t : transfers_) {
            if (t.write && now_ >= t.begin && now_ < t.begin + length_) {
                need(p.drives, "a write's data is not driven");
                uint16_t& cell = at(t, int(now_ - t.begin));
                for (int lane = 0; lane < 2; ++lane)
                    if (!(p.mask >> lane & 1)) cell = uint16_t((cell & ~(0xFF << 8 * lane)) | (p.data & 0xFF << 8 * lane));
                banks_[t.bank].written = now_;
            }
            // What is read at an edge comes behind the edge before.
            const long next = now_ + 1;
            if (!t.write && next >= t.begin && next < t.begin + length_) {
                driving_ = true;
                driven_ = at(t, int(next - t.begin));
                need(!p.drives, "both sides drive the data");
                need(p.mask == 0, "reading with a mask");
            }
        }
        while (!transfers_.empty() && now_ >= transfers_.front().begin + length_) transfers_.pop_front();
    }

    uint16_t& at(const Transfer& t, int k) {
        const unsigned column = (t.column & ~unsigned(length_ - 1)) | ((t.column + unsigned(k)) & unsigned(length_ - 1));
        return cells_[((size_t(t.bank) << kRowBits | t.row) << kColumnBits) | column];
    }

    double period_;
    std::vector<uint16_t> cells_;
    Bank banks_[kBanks];
    std::deque<Transfer> transfers_;
    long now_ = 0, refreshed_ = -1000000, activated_ = -1000000, moded_ = -1;
    bool started_ = false, initialised_ = false, driving_ = false;
    unsigned driven_ = 0;
    int length_ = 1, latency_ = 2;
};

// Verilator writes a name's second underscore as ___05F. Designs without SDRAM have no such ports.
template <class D>
auto latch(const D& d, Pins& p, int) -> decltype(d.sdram___05Fcke, void()) {
    p = {bool(d.sdram___05Fcke), bool(d.sdram___05Fras_n), bool(d.sdram___05Fcas_n), bool(d.sdram___05Fwe_n),
         d.sdram___05Fba, d.sdram___05Fa, d.sdram___05Fdqm, d.sdram___05Fdq_o, bool(d.sdram___05Fdq_oe)};
}
template <class D>
void latch(const D&, Pins&, long) {}

template <class D>
auto give(D& d, unsigned data, int) -> decltype(d.sdram___05Fdq_i, void()) {
    d.sdram___05Fdq_i = data;
}
template <class D>
void give(D&, unsigned, long) {}

class Board {
  public:
    Board(double bit, double mhz) : bit_(bit), chip_(mhz) {
        dut_.clk = 0;
        dut_.rst = 1;
        dut_.rx = 1;
        dut_.eval();
        for (int k = 0; k < 4; ++k) cycle();
        dut_.rst = 0;
    }

    void cycle() {
        Pins pins;
        latch(dut_, pins, 0);
        const unsigned data = chip_.driving() ? chip_.driven() : 0xDEADu;
        dut_.clk = 1;
        dut_.eval();
        give(dut_, data, 0);
        if (pins.cke) chip_.edge(pins);
        send();
        receive();
        dut_.clk = 0;
        dut_.eval();
        ++cycles;
    }

    std::deque<uint8_t> to_send, received;
    Chip& chip() { return chip_; }
    long cycles = 0;

  private:
    // The host's two ends of the line, with bits of `bit_` cycles that need not be whole.
    void send() {
        if (sending_ == 0 && !to_send.empty()) {
            shift_ = unsigned(to_send.front()) << 1 | 0x200u;
            to_send.pop_front();
            sending_ = 10;
            next_send_ = double(cycles);
        }
        if (sending_ > 0 && double(cycles) >= next_send_) {
            dut_.rx = shift_ & 1;
            shift_ >>= 1;
            next_send_ += bit_;
            --sending_;
            if (sending_ == 0) sending_ = -1;
        } else if (sending_ == -1 && double(cycles + 1) >= next_send_) {
            sending_ = 0;  // The stop bit has been out for its whole time.
        }
    }

    void receive() {
        if (receiving_ == 0) {
            if (!dut_.tx) {
                receiving_ = 9;
                next_receive_ = double(cycles) + 1.5 * bit_;
                word_ = 0;
            }
        } else if (double(cycles) >= next_receive_) {
            --receiving_;
            if (receiving_ > 0)
                word_ = word_ >> 1 | unsigned(dut_.tx) << 7;
            else if (dut_.tx)
                received.push_back(uint8_t(word_));
            next_receive_ += bit_;
        }
    }

    Vdut dut_;
    double bit_, next_send_ = 0, next_receive_ = 0;
    int sending_ = 0, receiving_ = 0;
    unsigned shift_ = 0, word_ = 0;
    Chip chip_;
};

}  // namespace

extern "C" {

void* board_new(double bit, double mhz) { return new Board(bit, mhz); }
void board_delete(void* handle) { delete static_cast<Board*>(handle); }

void board_send(void* handle, const uint8_t* data, int64_t count) {
    Board& b = *static_cast<Board*>(handle);
    b.to_send.insert(b.to_send.end(), data, data + count);
}

// Up to `count` bytes that came from the board; time passes until there are so many or none came for `patience` cycles.
int64_t board_receive(void* handle, uint8_t* data, int64_t count, int64_t patience) {
    Board& b = *static_cast<Board*>(handle);
    size_t before = b.received.size();
    for (int64_t quiet = 0; int64_t(b.received.size()) < count && quiet < patience; ++quiet) {
        b.cycle();
        if (b.received.size() != before || !b.to_send.empty()) quiet = 0;
        before = b.received.size();
    }
    int64_t taken = 0;
    for (; taken < count && !b.received.empty(); ++taken) {
        data[taken] = b.received.front();
        b.received.pop_front();
    }
    return taken;
}

int64_t board_cycles(void* handle) { return static_cast<Board*>(handle)->cycles; }
const char* board_error(void* handle) { return static_cast<Board*>(handle)->chip().error.c_str(); }

void board_counts(void* handle, int64_t* counts) {
    const Chip& c = static_cast<Board*>(handle)->chip();
    counts[0] = c.reads, counts[1] = c.writes, counts[2] = c.activations, counts[3] = c.refreshes;
}
}
