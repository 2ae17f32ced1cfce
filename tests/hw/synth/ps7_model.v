// The processor's primitive as far as the design uses it: runs one program on the machine and writes what it found.
// Plusargs: memory (hex file, a 64-bit word a line), words, program, length, after (file to write), registers.
`timescale 1ns / 1ps

module BUFG(input I, output O);
  assign O = I;
endmodule

module PS7(
  output [3:0] FCLKCLK, output [3:0] FCLKRESETN, input [19:0] IRQF2P,
  input MAXIGP0ACLK,
  output reg MAXIGP0ARVALID, input MAXIGP0ARREADY, output reg [11:0] MAXIGP0ARID, output reg [31:0] MAXIGP0ARADDR,
  output reg [3:0] MAXIGP0ARLEN, output [1:0] MAXIGP0ARSIZE, output [1:0] MAXIGP0ARBURST,
  input MAXIGP0RVALID, output reg MAXIGP0RREADY, input [11:0] MAXIGP0RID, input [31:0] MAXIGP0RDATA,
  input [1:0] MAXIGP0RRESP, input MAXIGP0RLAST,
  output reg MAXIGP0AWVALID, input MAXIGP0AWREADY, output reg [11:0] MAXIGP0AWID, output reg [31:0] MAXIGP0AWADDR,
  output [3:0] MAXIGP0AWLEN, output [1:0] MAXIGP0AWSIZE, output [1:0] MAXIGP0AWBURST,
  output reg MAXIGP0WVALID, input MAXIGP0WREADY, output reg [31:0] MAXIGP0WDATA, output [3:0] MAXIGP0WSTRB,
  input MAXIGP0BVALID, output reg MAXIGP0BREADY, input [11:0] MAXIGP0BID, input [1:0] MAXIGP0BRESP,
  input SAXIHP0ACLK,
  input SAXIHP0ARVALID, output SAXIHP0ARREADY, input [5:0] SAXIHP0ARID, input [31:0] SAXIHP0ARADDR,
  input [3:0] SAXIHP0ARLEN, input [1:0] SAXIHP0ARSIZE, input [1:0] SAXIHP0ARBURST, input [1:0] SAXIHP0ARLOCK,
  input [3:0] SAXIHP0ARCACHE, input [2:0] SAXIHP0ARPROT, input [3:0] SAXIHP0ARQOS,
  output reg SAXIHP0RVALID, input SAXIHP0RREADY, output reg [5:0] SAXIHP0RID, output reg [63:0] SAXIHP0RDATA,
  output [1:0] SAXIHP0RRESP, output reg SAXIHP0RLAST,
  input SAXIHP0AWVALID, output SAXIHP0AWREADY, input [5:0] SAXIHP0AWID, input [31:0] SAXIHP0AWADDR,
  input [3:0] SAXIHP0AWLEN, input [1:0] SAXIHP0AWSIZE, input [1:0] SAXIHP0AWBURST, input [1:0] SAXIHP0AWLOCK,
  input [3:0] SAXIHP0AWCACHE, input [2:0] SAXIHP0AWPROT, input [3:0] SAXIHP0AWQOS,
  input SAXIHP0WVALID, output SAXIHP0WREADY, input [5:0] SAXIHP0WID, input [63:0] SAXIHP0WDATA,
  input [7:0] SAXIHP0WSTRB, input SAXIHP0WLAST,
  output reg SAXIHP0BVALID, input SAXIHP0BREADY, output reg [5:0] SAXIHP0BID, output [1:0] SAXIHP0BRESP
);
  localparam WORDS = 1 << 16;
  reg [63:0] memory [0:WORDS-1];
  reg clock = 0, resetn = 0;
  always #5 clock = ~clock;
  assign FCLKCLK = {3'b0, clock}, FCLKRESETN = {3'b0, resetn};
  assign MAXIGP0ARSIZE = 2, MAXIGP0ARBURST = 1, MAXIGP0AWSIZE = 2, MAXIGP0AWBURST = 1, MAXIGP0AWLEN = 0, MAXIGP0WSTRB = 15;
  assign SAXIHP0RRESP = 0, SAXIHP0BRESP = 0;

  // HP0: one burst of each direction at a time.
  reg reading = 0, writing = 0;
  reg [4:0] left = 0;
  reg [31:0] from = 0, to = 0;
  assign SAXIHP0ARREADY = !reading;
  assign SAXIHP0AWREADY = !writing && !SAXIHP0BVALID;
  assign SAXIHP0WREADY = writing;
  integer lane;
  initial {SAXIHP0RVALID, SAXIHP0BVALID, SAXIHP0RLAST} = 0;
  always @(posedge SAXIHP0ACLK) begin
    if (SAXIHP0ARVALID && SAXIHP0ARREADY) begin
      if (SAXIHP0ARSIZE != 3 || SAXIHP0ARBURST != 1) $fatal(1, "a read burst of another size or kind");
      reading <= 1; left <= SAXIHP0ARLEN; from <= SAXIHP0ARADDR + 8; SAXIHP0RID <= SAXIHP0ARID;
      SAXIHP0RDATA <= memory[SAXIHP0ARADDR >> 3]; SAXIHP0RVALID <= 1; SAXIHP0RLAST <= SAXIHP0ARLEN == 0;
    end else if (SAXIHP0RVALID && SAXIHP0RREADY) begin
      SAXIHP0RDATA <= memory[from >> 3]; from <= from + 8; left <= left - 1;
      SAXIHP0RLAST <= left == 1; SAXIHP0RVALID <= left != 0; reading <= left != 0;
    end
    if (SAXIHP0AWVALID && SAXIHP0AWREADY) begin
      if (SAXIHP0AWSIZE != 3 || SAXIHP0AWBURST != 1) $fatal(1, "a write burst of another size or kind");
      writing <= 1; to <= SAXIHP0AWADDR; SAXIHP0BID <= SAXIHP0AWID;
    end
    if (SAXIHP0WVALID && SAXIHP0WREADY) begin
      if (SAXIHP0WID != SAXIHP0BID) $fatal(1, "write data of another ID than the address");
      for (lane = 0; lane < 8; lane = lane + 1)
        if (SAXIHP0WSTRB[lane]) memory[to >> 3][8*lane +: 8] <= SAXIHP0WDATA[8*lane +: 8];
      to <= to + 8;
      if (SAXIHP0WLAST) begin writing <= 0; SAXIHP0BVALID <= 1; end
    end
    if (SAXIHP0BVALID && SAXIHP0BREADY) SAXIHP0BVALID <= 0;
  end

  // GP0.
  reg [31:0] got [0:15];
  integer beat;
  task get(input [31:0] address, input [3:0] length);
    begin
      MAXIGP0ARADDR <= address; MAXIGP0ARLEN <= length; MAXIGP0ARID <= 12'habc; MAXIGP0ARVALID <= 1; @(posedge clock);
      while (!MAXIGP0ARREADY) @(posedge clock);
      MAXIGP0ARVALID <= 0; MAXIGP0RREADY <= 1; @(posedge clock);
      for (beat = 0; beat <= length; beat = beat + 1) begin
        while (!MAXIGP0RVALID) @(posedge clock);
        got[beat] = MAXIGP0RDATA;
        if (MAXIGP0RID != 12'habc || MAXIGP0RLAST != (beat == length)) $fatal(1, "a wrong ID or last beat");
        if (beat == length) MAXIGP0RREADY <= 0;
        @(posedge clock);
      end
    end
  endtask
  task put(input [31:0] address, input [31:0] value);
    begin
      MAXIGP0AWADDR <= address; MAXIGP0AWID <= 12'h123; MAXIGP0AWVALID <= 1; @(posedge clock);
      while (!MAXIGP0AWREADY) @(posedge clock);
      MAXIGP0AWVALID <= 0; MAXIGP0WDATA <= value; MAXIGP0WVALID <= 1; @(posedge clock);
      while (!MAXIGP0WREADY) @(posedge clock);
      MAXIGP0WVALID <= 0; MAXIGP0BREADY <= 1; @(posedge clock);
      while (!MAXIGP0BVALID) @(posedge clock);
      if (MAXIGP0BID != 12'h123 || MAXIGP0BRESP != 0) $fatal(1, "a wrong ID or an error");
      MAXIGP0BREADY <= 0; @(posedge clock);
    end
  endtask

  reg [8*256-1:0] file;
  reg [31:0] base, entry, length, words;
  integer index, patience;
  initial begin
    {MAXIGP0ARVALID, MAXIGP0RREADY, MAXIGP0AWVALID, MAXIGP0WVALID, MAXIGP0BREADY} = 0;
    if (!$value$plusargs("memory=%s", file)) $fatal(1, "no memory");
    $readmemh(file, memory);
    if (!$value$plusargs("words=%d", words)) $fatal(1, "no words");
    if (!$value$plusargs("program=%d", entry)) $fatal(1, "no program");
    if (!$value$plusargs("length=%d", length)) $fatal(1, "no length");
    if (!$value$plusargs("registers=%h", base)) $fatal(1, "no registers");
    repeat (8) @(posedge clock);
    resetn <= 1;
    repeat (8) @(posedge clock);
    get(base + 'h24, 1);
    $display("fingerprint %h%h", got[1], got[0]);
    put(base + 'h8, 1);
    put(base + 'hc, entry);
    put(base + 'h10, length);
    if (IRQF2P !== 0) $fatal(1, "an interrupt before the start");
    put(base, 1);
    patience = 0;
    while (IRQF2P[0] !== 1) begin
      @(posedge clock);
      patience = patience + 1;
      if (patience > 100000) $fatal(1, "no interrupt");
    end
    get(base + 'h4, 0);
    $display("status %0d", got[0]);
    put(base + 'h4, 2);
    if (IRQF2P !== 0) $fatal(1, "an interrupt after it was cleared");
    if (!$value$plusargs("after=%s", file)) $fatal(1, "no file to write");
    $writememh(file, memory, 0, words - 1);
    $finish;
  end
endmodule
