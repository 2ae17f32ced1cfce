; The thread pool of runtime/thread_pool.py, which fills in what stands in braces after a dollar sign and says how it works.
;
; Of each thread, so that it shares no pair of lines with another: its range (loop number << 32 | next iteration << 16 |
; end), the loop's body, context and number of threads; and 128 bytes behind, written by itself alone, what it has done
; (loop number << 32 | iterations), whether it sleeps, and its number in the system. It sleeps on the loop number of its
; range.

target triple = "${triple}"

%share = type { i64, ptr, ptr, i32 }
%report = type { i64, i32, ${word} }
@shares = internal global [${threads} x [256 x i8]] zeroinitializer, align 256
@threads = internal global i32 1, align 64
@pace = internal global i64 65536
@started = internal global i32 1
@busy = internal global i32 0, align 64
@home = internal global i32 -2, align 64  ; the caller's processor
@moment = internal constant [2 x ${word}] [ ${word} 0, ${word} ${nap} ]  ; a struct timespec

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(${word})
declare ${word} @syscall(${word}, ...)
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, ${word}, ptr)
declare i32 @sched_setaffinity(i32, ${word}, ptr)
declare ${hint}

define internal ptr @share(i32 %id) {
  %share = getelementptr [256 x i8], ptr @shares, i32 %id
  ret ptr %share
}

define internal ptr @report(i32 %id) {
  %report = getelementptr [256 x i8], ptr @shares, i32 %id, i32 128
  ret ptr %report
}

; An iteration of loop %number from the front of a share, or from its back; -1: none is left.
define internal i32 @claim(ptr %share, i64 %number, i1 %front) {
entry:
  %first = load atomic i64, ptr %share acquire, align 8
  br label %try
try:
  %seen = phi i64 [ %first, %entry ], [ %now, %take ]
  %loop = lshr i64 %seen, 32
  %known = icmp eq i64 %loop, %number
  %shifted = lshr i64 %seen, 16
  %next = and i64 %shifted, 65535
  %end = and i64 %seen, 65535
  %left = icmp ult i64 %next, %end
  %some = and i1 %known, %left
  br i1 %some, label %take, label %none
take:
  %step = select i1 %front, i64 65536, i64 -1
  %after = add i64 %seen, %step
  %pair = cmpxchg ptr %share, i64 %seen, i64 %after acq_rel acquire, align 8
  %now = extractvalue { i64, i1 } %pair, 0
  %mine = extractvalue { i64, i1 } %pair, 1
  br i1 %mine, label %taken, label %try
taken:
  %last = sub i64 %end, 1
  %index = select i1 %front, i64 %next, i64 %last
  %result = trunc i64 %index to i32
  ret i32 %result
none:
  ret i32 -1
}

; Claims and runs iterations of loop %number, its own share's and then the others', until none is left.
define internal void @work(i32 %id, i64 %number) {
entry:
  %own = call ptr @share(i32 %id)
  br label %next
next:
  %count = phi i64 [ 0, %entry ], [ %more, %run ]
  %place = phi i32 [ %id, %entry ], [ %from, %run ]
  br label %look
look:
  %from = phi i32 [ %place, %next ], [ %other, %elsewhere ]
  %share = call ptr @share(i32 %from)
  %front = icmp eq i32 %from, %id
  %index = call i32 @claim(ptr %share, i64 %number, i1 %front)
  %found = icmp sge i32 %index, 0
  br i1 %found, label %run, label %elsewhere
run:
  %bodyp = getelementptr %share, ptr %own, i32 0, i32 1
  %body = load ptr, ptr %bodyp, align 4
  %contextp = getelementptr %share, ptr %own, i32 0, i32 2
  %context = load ptr, ptr %contextp, align 4
  call void %body(ptr %context, i32 %index)
  %more = add i64 %count, 1
  br label %next
elsewhere:
  %threadsp = getelementptr %share, ptr %own, i32 0, i32 3
  %threads = load i32, ptr %threadsp, align 4
  %following = add i32 %from, 1
  %last = icmp sge i32 %following, %threads
  %other = select i1 %last, i32 0, i32 %following
  %round = icmp eq i32 %other, %id
  br i1 %round, label %tell, label %look
tell:
  %report = call ptr @report(i32 %id)
  %high = shl i64 %number, 32
  %done = or i64 %high, %count
  store atomic i64 %done, ptr %report release, align 8
  ret void
}

; Leaves the caller's processor, if it is this one and not the only one that %allowed has.
define internal void @part(ptr %allowed, ptr %mask) {
entry:
  %home = load atomic i32, ptr @home monotonic, align 4
  %here = call i32 @sched_getcpu()
  %same = icmp eq i32 %home, %here
  %representable = icmp ult i32 %here, ${cpus}
  %leave = and i1 %same, %representable
  br i1 %leave, label %copy, label %end
copy:
  %i = phi i32 [ 0, %entry ], [ %following, %copy ]
  %some = phi i32 [ 0, %entry ], [ %any, %copy ]
  %from = getelementptr i8, ptr %allowed, i32 %i
  %to = getelementptr i8, ptr %mask, i32 %i
  %byte = load i8, ptr %from, align 1
  %first = shl i32 %i, 3
  %place = sub i32 %here, %first
  %inside = icmp ult i32 %place, 8
  %shift = and i32 %place, 7
  %bit = shl i32 1, %shift
  %cleared = select i1 %inside, i32 %bit, i32 0
  %keep = xor i32 %cleared, 255
  %keep8 = trunc i32 %keep to i8
  %kept = and i8 %byte, %keep8
  store i8 %kept, ptr %to, align 1
  %wide = zext i8 %kept to i32
  %any = or i32 %some, %wide
  %following = add i32 %i, 1
  %more = icmp ult i32 %following, ${mask}
  br i1 %more, label %copy, label %choose
choose:
  %other = icmp ne i32 %any, 0
  br i1 %other, label %move, label %end
move:
  %r = call i32 @sched_setaffinity(i32 0, ${word} ${mask}, ptr %mask)
  br label %end
end:
  ret void
}

define internal ptr @thread(ptr %argument) {
entry:
  %allowed = alloca [${mask} x i8], align 8
  %mask = alloca [${mask} x i8], align 8
  store [${mask} x i8] zeroinitializer, ptr %allowed
  %g = call i32 @sched_getaffinity(i32 0, ${word} ${mask}, ptr %allowed)
  %address = ptrtoint ptr %argument to i64
  %id = trunc i64 %address to i32
  %own = call ptr @share(i32 %id)
  %numberp = getelementptr i32, ptr %own, i32 1
  %report = call ptr @report(i32 %id)
  %sleeps = getelementptr %report, ptr %report, i32 0, i32 1
  %tid = call ${word} (${word}, ...) @syscall(${word} ${gettid})
  %tidp = getelementptr %report, ptr %report, i32 0, i32 2
  store atomic ${word} %tid, ptr %tidp release, align ${wordbytes}
  br label %look
look:
  %seen = phi i64 [ 0, %entry ], [ %number, %busy ], [ %seen, %rest ], [ %seen, %sleep ]
  %spins = phi i32 [ 0, %entry ], [ 0, %busy ], [ %more, %rest ], [ 0, %sleep ]
  %word = load atomic i64, ptr %own acquire, align 8
  %number = lshr i64 %word, 32
  %idle = icmp eq i64 %number, %seen
  br i1 %idle, label %wait, label %busy
busy:
  call void @part(ptr %allowed, ptr %mask)
  call void @work(i32 %id, i64 %number)
  br label %look
wait:
  %more = add i32 %spins, 1
  %enough = icmp sgt i32 %more, ${spins}
  br i1 %enough, label %sleep, label %spin
spin:
  %phase = and i32 %spins, 31
  %seldom = icmp eq i32 %phase, 0
  br i1 %seldom, label %apart, label %rest
apart:
  call void @part(ptr %allowed, ptr %mask)
  br label %rest
rest:
  ${pause}
  br label %look
sleep:
  %s = atomicrmw xchg ptr %sleeps, i32 1 seq_cst
  %low = trunc i64 %seen to i32
  %r = call ${word} (${word}, ...) @syscall(${word} ${futex}, ptr %numberp, i32 128, i32 %low, ptr null, ptr null, i32 0)
  %t = atomicrmw xchg ptr %sleeps, i32 0 seq_cst
  br label %look
}

define void @vdla_pool_set_threads(i32 %wanted) {
entry:
  %handle = alloca ${word}
  br label %look
look:
  %id = load i32, ptr @started, align 4
  %lack = icmp slt i32 %id, %wanted
  br i1 %lack, label %start, label %divide
start:
  %wide = sext i32 %id to i64
  %argument = inttoptr i64 %wide to ptr
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @thread, ptr %argument)
  %bad = icmp ne i32 %failed, 0
  br i1 %bad, label %divide, label %count
count:
  %thread = load ${word}, ptr %handle
  %d = call i32 @pthread_detach(${word} %thread)
  %one = add i32 %id, 1
  store i32 %one, ptr @started, align 4
  br label %look
; 65536 / threads, rounded up, without a division, for which some processors would need a library.
divide:
  %pace = phi i32 [ 0, %look ], [ 0, %start ], [ %longer, %divide ]
  %reach = phi i32 [ 0, %look ], [ 0, %start ], [ %further, %divide ]
  %longer = add i32 %pace, 1
  %further = add i32 %reach, %wanted
  %short = icmp ult i32 %further, 65536
  br i1 %short, label %divide, label %end
end:
  %pace64 = zext i32 %longer to i64
  store atomic i64 %pace64, ptr @pace release, align 8
  store atomic i32 %wanted, ptr @threads release, align 4
  ret void
}

define void @vdla_parallel_for(ptr %body, ptr %context, i32 %n) {
entry:
  %mask = alloca [${mask} x i8], align 8
  %threads = load atomic i32, ptr @threads acquire, align 4
  %alone = icmp slt i32 %threads, 2
  %long = icmp ugt i32 %n, ${most}
  %short = icmp slt i32 %n, 2
  %a = or i1 %alone, %long
  %b = or i1 %a, %short
  br i1 %b, label %serial, label %lock
lock:
  %pair = cmpxchg ptr @busy, i32 0, i32 1 acq_rel monotonic, align 4
  %free = extractvalue { i32, i1 } %pair, 1
  br i1 %free, label %begin, label %serial
serial:
  %some = icmp sgt i32 %n, 0
  br i1 %some, label %loop, label %end
loop:
  %i = phi i32 [ 0, %serial ], [ %following, %loop ]
  call void %body(ptr %context, i32 %i)
  %following = add i32 %i, 1
  %again = icmp slt i32 %following, %n
  br i1 %again, label %loop, label %end
begin:
  %pace = load atomic i64, ptr @pace monotonic, align 8
  %old = load atomic i64, ptr @shares monotonic, align 8
  %before = lshr i64 %old, 32
  %after = add i64 %before, 1
  %number = and i64 %after, 4294967295
  %high = shl i64 %number, 32
  %extent = zext i32 %n to i64
  %cpu = call i32 @sched_getcpu()
  store atomic i32 %cpu, ptr @home monotonic, align 4
  br label %publish
; Thread t's share: iterations t n / threads to (t + 1) n / threads, about; the last one's end is n.
publish:
  %id = phi i32 [ 0, %begin ], [ %id1, %publish ]
  %first = phi i64 [ 0, %begin ], [ %stop, %publish ]
  %id1 = add i32 %id, 1
  %wide = zext i32 %id1 to i64
  %product = mul i64 %wide, %pace
  %scaled = mul i64 %product, %extent
  %stop0 = lshr i64 %scaled, 16
  %over = icmp ugt i64 %stop0, %extent
  %last = icmp eq i32 %id1, %threads
  %full = or i1 %over, %last
  %stop = select i1 %full, i64 %extent, i64 %stop0
  %share = call ptr @share(i32 %id)
  %bodyp = getelementptr %share, ptr %share, i32 0, i32 1
  store ptr %body, ptr %bodyp, align 4
  %contextp = getelementptr %share, ptr %share, i32 0, i32 2
  store ptr %context, ptr %contextp, align 4
  %threadsp = getelementptr %share, ptr %share, i32 0, i32 3
  store i32 %threads, ptr %threadsp, align 4
  %from = shl i64 %first, 16
  %range = or i64 %from, %stop
  %word = or i64 %high, %range
  store atomic i64 %word, ptr %share release, align 8
  br i1 %last, label %published, label %publish
published:
  fence seq_cst
  br label %rouse
rouse:
  %other = phi i32 [ 1, %published ], [ %other1, %roused ]
  %report = call ptr @report(i32 %other)
  %sleepsp = getelementptr %report, ptr %report, i32 0, i32 1
  %sleeps = load atomic i32, ptr %sleepsp monotonic, align 4
  %asleep = icmp ne i32 %sleeps, 0
  br i1 %asleep, label %wake, label %roused
wake:
  %bed = call ptr @share(i32 %other)
  %numberp = getelementptr i32, ptr %bed, i32 1
  %r = call ${word} (${word}, ...) @syscall(${word} ${futex}, ptr %numberp, i32 129, i32 1, ptr null, ptr null, i32 0)
  br label %roused
roused:
  %other1 = add i32 %other, 1
  %all = icmp eq i32 %other1, %threads
  br i1 %all, label %join, label %rouse
join:
  call void @work(i32 0, i64 %number)
  br label %look
; Waits until what was done adds up.
look:
  %waited = phi i32 [ 0, %join ], [ %waited1, %rest ], [ %waited1, %nap ], [ %waited, %look ]
  %told = phi i32 [ 0, %join ], [ 0, %rest ], [ 0, %nap ], [ %told1, %look ]
  %sum = phi i64 [ 0, %join ], [ 0, %rest ], [ 0, %nap ], [ %sum1, %look ]
  %reportp = call ptr @report(i32 %told)
  %done = load atomic i64, ptr %reportp acquire, align 8
  %which = lshr i64 %done, 32
  %this = icmp eq i64 %which, %number
  %part = and i64 %done, 4294967295
  %counted = select i1 %this, i64 %part, i64 0
  %sum1 = add i64 %sum, %counted
  %told1 = add i32 %told, 1
  %through = icmp eq i32 %told1, %threads
  br i1 %through, label %compare, label %look
compare:
  %complete = icmp eq i64 %sum1, %extent
  br i1 %complete, label %unlock, label %wait
wait:
  %waited1 = add i32 %waited, 1
  %overdue = icmp ugt i32 %waited1, ${patience}
  br i1 %overdue, label %late, label %rest
rest:
  ${pause}
  br label %look
; Who is late may have been stopped for another process: the first of them goes on here. It leaves when it is done.
late:
  %once = icmp eq i32 %waited1, ${overdue}
  %now = call i32 @sched_getcpu()
  %representable = icmp ult i32 %now, ${cpus}
  %give = and i1 %once, %representable
  br i1 %give, label %mark, label %nap
mark:
  store [${mask} x i8] zeroinitializer, ptr %mask
  %byte = lshr i32 %now, 3
  %slot = getelementptr i8, ptr %mask, i32 %byte
  %place = and i32 %now, 7
  %bit = shl i32 1, %place
  %bit8 = trunc i32 %bit to i8
  store i8 %bit8, ptr %slot, align 1
  store atomic i32 %now, ptr @home monotonic, align 4
  br label %find
find:
  %who = phi i32 [ 1, %mark ], [ %who1, %skip ]
  %theirs = call ptr @report(i32 %who)
  %last1 = load atomic i64, ptr %theirs acquire, align 8
  %loop1 = lshr i64 %last1, 32
  %through1 = icmp eq i64 %loop1, %number
  %tidp = getelementptr %report, ptr %theirs, i32 0, i32 2
  %tid = load atomic ${word}, ptr %tidp acquire, align ${wordbytes}
  %unborn = icmp eq ${word} %tid, 0
  %other2 = or i1 %through1, %unborn
  br i1 %other2, label %skip, label %move
skip:
  %who1 = add i32 %who, 1
  %none = icmp eq i32 %who1, %threads
  br i1 %none, label %nap, label %find
move:
  %moved = call ${word} (${word}, ...) @syscall(${word} ${setaffinity}, ${word} %tid, ${word} ${mask}, ptr %mask)
  br label %nap
nap:
  %n1 = call ${word} (${word}, ...) @syscall(${word} ${futex}, ptr @busy, i32 128, i32 1, ptr @moment, ptr null, i32 0)
  br label %look
unlock:
  store atomic i32 0, ptr @busy release, align 4
  br label %end
end:
  ret void
}
